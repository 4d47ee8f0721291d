"""SparseGPT: weights go one by one, and those that are left make the error good.

Frantar and Alistarh 2023, algorithm 1 (arXiv 2301.00774), by llm-compressor's
`SparseGPTModifier`: blocks of columns, the mask of a block chosen when the block is reached,
Hessian from the calibration text, dampened.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from compression_order import chat, oneshot, sparsity

LIBRARIES = oneshot.LIBRARIES


@dataclass(frozen=True)
class Settings(sparsity.Zeroing):
    """How many weights go, the solver, the text, and the fine-tuning that follows."""

    dampening: float = 0.01
    block_size: int = 128
    seq_len: int = 256
    windows: int = 0


def apply(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> dict[str, Any]:
    """Zero weights of `model` in place and adapt the others; see `oneshot.zero`."""
    from llmcompressor.modifiers.pruning import SparseGPTModifier

    return oneshot.zero(
        model,
        documents,
        settings,
        SparseGPTModifier,
        dampening_frac=settings.dampening,
        block_size=settings.block_size,
        preserve_sparsity_mask=settings.again == sparsity.COMPOUND,
    )
