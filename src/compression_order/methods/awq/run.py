"""AWQ: columns that see large activations are scaled up before 4-bit rounding.

Lin et al. 2023, section 3 (arXiv 2306.00978), by llm-compressor's `AWQModifier` and
round-to-nearest. The inverse scales go into the norm or linear before, so the checkpoint has no
other tensors than a GPTQ one. Every linear of the decoder layers is quantized; embeddings, norms
and the output head stay in bf16.
"""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from compression_order.checkpoint.forms import packed
from compression_order.methods import llm_compressor, rounding
from compression_order.methods.awq.settings import Settings
from compression_order.text import chat

LIBRARIES = llm_compressor.LIBRARIES


def recipe(settings: Settings) -> list[Any]:
    """llm-compressor's modifiers."""
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    groups = rounding.groups(settings.group_size, settings.symmetric)
    nearest = QuantizationModifier(config_groups=groups, ignore=llm_compressor.IGNORED)
    return [AWQModifier(n_grid=settings.grid_points), nearest]


def apply(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> tuple[packed.Packed, dict[str, Any]]:
    """Scale `model` in place, ready to be rounded; see `rounding.quantize`."""
    return rounding.quantize(model, documents, settings, recipe)
