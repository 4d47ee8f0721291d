"""The public face of the loader: models whose layers differ, which plain transformers refuses.

    from compression_order import loading
    model = loading.pretrained("results/study/seed0/checkpoints/BP")

A manifest names this module under `loader` where its checkpoint needs it.
"""

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compression_order.checkpoint import models
from compression_order.checkpoint.stored import Checkpoint


def pretrained(folder: str | Path, **options: Any) -> PreTrainedModel:
    """The model of a checkpoint folder, dense or quantized; `options` are of `from_pretrained`."""
    checkpoint = Checkpoint(Path(folder))
    return models.pretrained(checkpoint.folder, checkpoint.fields, **options)


def tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint folder."""
    return Checkpoint(Path(folder)).tokenizer
