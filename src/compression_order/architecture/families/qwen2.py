"""Qwen2 and Qwen2.5: biases on queries, keys and values."""

from compression_order.architecture.families.family import Family

FAMILY = Family("qwen2", qkv_bias=True)
