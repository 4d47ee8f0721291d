"""What a study may say of fine-tuning through an adapter. Pure Python."""

from typing import ClassVar

from compression_order.methods import kinds


class Settings(kinds.Adapted):
    """Train a low-rank adapter with the next-token loss (Hu et al. 2021, section 4.1)."""

    kind: ClassVar[str] = "finetune"
    rules: ClassVar[tuple[str, ...]] = (
        kinds.REQUANTIZE,
        kinds.DEQUANTIZE,
        kinds.ADAPTER,
        kinds.REFUSE,
    )
    adapts: ClassVar[bool] = True
