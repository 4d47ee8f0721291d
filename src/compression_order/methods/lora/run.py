"""Fine-tuning through a low-rank adapter with the next-token loss; see `checkpoint/adapters.py`.

On a dense parent the adapter is merged. On a quantized one the stage says: merged into the
dequantized weights (`requantize`, `dequantize`), or beside the frozen ones (`adapter`: QLoRA).
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from compression_order.methods.lora.settings import Settings
from compression_order.text import chat
from compression_order.training import loop

DTYPE = torch.bfloat16  # the parent is frozen: its own precision is enough


def objective(
    documents: Sequence[chat.Encoded], settings: Settings, teacher: Path | None
) -> loop.Objective:
    """The next-token loss; nobody teaches."""
    return loop.next_token
