"""Wanda: the weights go whose size times the norm of their input is smallest, row by row.

Sun et al. 2023, equation 1 (arXiv 2306.11695), by llm-compressor's `WandaPruningModifier`; the
weights that stay do not change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from compression_order import calibration, chat, oneshot, sparsity

LIBRARIES = oneshot.LIBRARIES


@dataclass(frozen=True)
class Settings(sparsity.Zeroing):
    """How many weights go, the text, and the fine-tuning that follows."""

    seq_len: int = 256
    windows: int = 0


def apply(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> dict[str, Any]:
    """Zero weights of `model` in place.

    Zeros score 0 and are taken first, so that a pass at a higher share contains the one before.

    Args:
        model: dense; calibration starts from bf16, the form in which it is stored.
        documents: the calibration split.
        settings: see `Settings`.

    Raises:
        HarnessError: see `sparsity.goal`; or the text is too short.
    """
    from llmcompressor.modifiers.pruning import WandaPruningModifier

    goal = sparsity.goal(model, settings)
    windows = calibration.windows(documents, settings.seq_len, settings.windows)
    modifier = WandaPruningModifier(
        sparsity=list(goal.shares.values()),
        mask_structure=f"{goal.zeros}:{goal.of}",
        targets=list(goal.shares),
    )
    oneshot.take_weights(model, oneshot.run(oneshot.bf16(model), windows, [modifier]))
    return {"sparsity": sparsity.require(model, goal)}
