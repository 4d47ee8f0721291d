"""Wanda: the weights go whose size times the norm of their input is smallest, row by row.

Sun et al. 2023, equation 1 (arXiv 2306.11695), by llm-compressor's `WandaPruningModifier`; the
weights that stay do not change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from compression_order import chat, oneshot, sparsity

LIBRARIES = oneshot.LIBRARIES


@dataclass(frozen=True)
class Settings(sparsity.Zeroing):
    """How many weights go, the text, and the fine-tuning that follows."""

    seq_len: int = 256
    windows: int = 0


def apply(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> dict[str, Any]:
    """Zero weights of `model` in place; see `oneshot.zero`.

    Zeros score 0 and are taken first, so that a pass at a higher share contains the one before.
    """
    from llmcompressor.modifiers.pruning import WandaPruningModifier

    return oneshot.zero(model, documents, settings, WandaPruningModifier)
