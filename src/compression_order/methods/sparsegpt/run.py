"""SparseGPT: weights go one by one, and those that are left make the error good.

Frantar and Alistarh 2023, algorithm 1 (arXiv 2301.00774), by llm-compressor's
`SparseGPTModifier`: blocks of columns, the mask of a block chosen when the block is reached,
Hessian from the calibration text, dampened.
"""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from compression_order.methods import llm_compressor
from compression_order.methods.kinds import COMPOUND
from compression_order.methods.sparsegpt.settings import Settings
from compression_order.text import chat

LIBRARIES = llm_compressor.LIBRARIES


def apply(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> dict[str, Any]:
    """Zero weights of `model` in place and adapt the others; see `llm_compressor.zero`."""
    from llmcompressor.modifiers.pruning import SparseGPTModifier

    return llm_compressor.zero(
        model,
        documents,
        settings,
        SparseGPTModifier,
        dampening_frac=settings.dampening,
        block_size=settings.block_size,
        preserve_sparsity_mask=settings.again == COMPOUND,
    )
