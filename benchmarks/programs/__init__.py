"""The programs that are measured: ours, and others that do the same."""
