"""SparseGPT."""
