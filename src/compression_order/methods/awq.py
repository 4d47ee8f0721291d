"""AWQ: columns that see large activations are scaled up before 4-bit rounding.

Lin et al. 2023, section 3 (arXiv 2306.00978), by llm-compressor's `AWQModifier` and
round-to-nearest. The inverse scales go into the norm or linear before, so the checkpoint has no
other tensors than a GPTQ one. Every linear of the decoder layers is quantized; embeddings, norms
and the output head stay in bf16.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from compression_order import chat, oneshot, packed

LIBRARIES = oneshot.LIBRARIES


@dataclass(frozen=True)
class Settings:
    """The grid, the search for the scales, and the text."""

    group_size: int = 128
    symmetric: bool = False
    grid_points: int = 20
    seq_len: int = 256
    windows: int = 0


def recipe(settings: Settings) -> list[Any]:
    """llm-compressor's modifiers."""
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    groups = oneshot.groups(settings.group_size, settings.symmetric)
    rounding = QuantizationModifier(config_groups=groups, ignore=oneshot.IGNORED)
    return [AWQModifier(n_grid=settings.grid_points), rounding]


def apply(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> tuple[packed.Packed, dict[str, Any]]:
    """Scale `model` in place, ready to be rounded; see `oneshot.quantize`."""
    return oneshot.quantize(model, documents, settings, recipe)
