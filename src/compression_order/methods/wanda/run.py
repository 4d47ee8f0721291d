"""Wanda: the weights go whose size times the norm of their input is smallest, row by row.

Sun et al. 2023, equation 1 (arXiv 2306.11695), by llm-compressor's `WandaPruningModifier`; the
weights that stay do not change.
"""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from compression_order.methods import llm_compressor
from compression_order.methods.wanda.settings import Settings
from compression_order.text import chat

LIBRARIES = llm_compressor.LIBRARIES


def apply(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> dict[str, Any]:
    """Zero weights of `model` in place; see `llm_compressor.zero`.

    Zeros score 0 and are taken first, so that a pass at a higher share contains the one before.
    """
    from llmcompressor.modifiers.pruning import WandaPruningModifier

    return llm_compressor.zero(model, documents, settings, WandaPruningModifier)
