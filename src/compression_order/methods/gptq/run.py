"""GPTQ: 4-bit weights, every rounding error made good by the weights that are still to come.

Frantar et al. 2022, algorithm 1 (arXiv 2210.17323), by llm-compressor's `GPTQModifier`. Every
linear of the decoder layers is quantized; embeddings, norms and the output head stay in bf16.

GPTQ spreads errors over all columns, pruned ones too. Zeros that an earlier pruning made are put
back (0 is on every grid); the manifest records which share of them GPTQ itself had kept.
"""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from compression_order.checkpoint.forms import packed
from compression_order.methods import llm_compressor, rounding
from compression_order.methods.gptq.settings import Settings
from compression_order.text import chat

LIBRARIES = llm_compressor.LIBRARIES


def recipe(settings: Settings) -> list[Any]:
    """llm-compressor's modifiers."""
    from llmcompressor.modifiers.gptq import GPTQModifier

    modifier = GPTQModifier(
        config_groups=rounding.groups(settings.group_size, settings.symmetric),
        ignore=llm_compressor.IGNORED,
        dampening_frac=settings.dampening,
        actorder="static" if settings.activation_order else None,
    )
    return [modifier]


def apply(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> tuple[packed.Packed, dict[str, Any]]:
    """Round `model` in place; see `rounding.quantize`."""
    return rounding.quantize(model, documents, settings, recipe)
