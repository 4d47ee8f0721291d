"""GPTQ."""
