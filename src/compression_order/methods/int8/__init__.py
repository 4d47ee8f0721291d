"""LLM.int8."""
