"""The command `compression-order`: tools that a person runs and no workflow rule needs."""
