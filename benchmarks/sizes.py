"""How much work a measurement is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Sizes:
    """What every way of doing one thing is given.

    Attributes:
        batch: conversations of a training step.
        steps: training steps; the first warms up and is not timed.
        windows: windows of 512 tokens whose perplexity is computed.
        questions: questions asked of each set.
        vocabulary: ids that the loss is over, where its memory is measured.
        positions: tokens that it is over.
        calibration: windows of 256 tokens that GPTQ reads.
    """

    batch: int
    steps: int
    windows: int
    questions: Mapping[str, int]
    vocabulary: int = 151_936  # Qwen2.5's
    positions: int = 1024
    calibration: int = 16

    @property
    def conversations(self) -> int:
        """Conversations that all steps read, each once."""
        return self.batch * self.steps

    def record(self) -> dict[str, Any]:
        """The sizes as JSON."""
        return asdict(self)


FULL = Sizes(batch=4, steps=4, windows=8, questions={"openbookqa": 30, "siqa": 15})
QUICK = Sizes(batch=2, steps=2, windows=2, questions={"openbookqa": 8, "siqa": 4})
BY_NAME = {"full": FULL, "quick": QUICK}
