"""LLM.int8: 8-bit weights, one scale a row, by bitsandbytes; see `checkpoint/forms/int8.py`."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from compression_order.checkpoint.forms.int8 import Int8
from compression_order.methods.int8.settings import Settings
from compression_order.text import chat


def apply(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> tuple[Int8, dict[str, Any]]:
    """The form, and what the checkpoint must show. Storing does the work."""
    form = Int8(settings.threshold)
    return form, form.claims(model)
