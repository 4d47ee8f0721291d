"""Fine-tuning through a low-rank adapter; see `adapters.py`.

On a dense parent the adapter is merged. On a quantized one the stage says: merged into the
dequantized weights (`requantize`, `dequantize`), or beside the frozen ones (`adapter`: QLoRA).
"""

from dataclasses import dataclass, field

import torch

from compression_order.adapters import Adapter
from compression_order.training import Training

DTYPE = torch.bfloat16  # the parent is frozen: its own precision is enough


@dataclass(frozen=True)
class Settings:
    """The adapter and its training."""

    adapter: Adapter = field(default_factory=Adapter)
    training: Training = field(default_factory=lambda: Training(steps=32))
