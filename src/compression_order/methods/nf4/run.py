"""NF4: 4-bit NormalFloat weights, by bitsandbytes; see `checkpoint/forms/nf4.py`."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from compression_order.checkpoint.forms.nf4 import Nf4
from compression_order.methods.nf4.settings import Settings
from compression_order.text import chat


def apply(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> tuple[Nf4, dict[str, Any]]:
    """The form, and what the checkpoint must show. Storing does the work."""
    form = Nf4(settings.double_quant)
    return form, form.claims(model)
