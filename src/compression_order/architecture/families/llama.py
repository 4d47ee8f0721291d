"""Llama and what is built like it, SmolLM2 for one: no biases."""

from compression_order.architecture.families.family import Family

FAMILY = Family("llama", whole_heads=True)
