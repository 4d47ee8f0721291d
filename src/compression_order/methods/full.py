"""Fine-tuning of all weights with the next-token loss."""

from dataclasses import dataclass, field

from compression_order.training import Training


@dataclass(frozen=True)
class Settings:
    """The training."""

    training: Training = field(default_factory=lambda: Training(steps=32))
