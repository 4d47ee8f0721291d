"""What a study may say of fine-tuning in all weights. Pure Python."""

from typing import ClassVar

from compression_order.methods import kinds


class Settings(kinds.Tune):
    """Train all weights with the next-token loss."""

    kind: ClassVar[str] = "finetune"
    rules: ClassVar[tuple[str, ...]] = (
        kinds.REQUANTIZE,
        kinds.DEQUANTIZE,
        kinds.FAKE_QUANT,
        kinds.REFUSE,
    )
