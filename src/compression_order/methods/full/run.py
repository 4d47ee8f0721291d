"""Fine-tuning of all weights with the next-token loss."""

from collections.abc import Sequence
from pathlib import Path

from compression_order.methods.full.settings import Settings
from compression_order.text import chat
from compression_order.training import loop


def objective(
    documents: Sequence[chat.Encoded], settings: Settings, teacher: Path | None
) -> loop.Objective:
    """The next-token loss; nobody teaches."""
    return loop.next_token
