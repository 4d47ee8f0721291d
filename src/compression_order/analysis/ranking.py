"""The full orders by perplexity on one text, and whether two of them can be told apart."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from compression_order import paired
from compression_order.analysis import estimates, families
from compression_order.analysis.estimates import Sample


@dataclass(frozen=True)
class Orders:
    """The full orders that can be compared on one text, lowest perplexity first."""

    text: str
    units: str
    names: tuple[str, ...]
    losses: Mapping[str, paired.Array]  # pipeline -> [seeds, units]
    weights: paired.Array
    left_out: tuple[str, ...] = ()  # refused, or a loss that is not finite

    def ratio(self, pipeline: str, reference: str) -> paired.Estimate:
        """Perplexity ratio with its paired standard error."""
        return paired.ratio(self.losses[pipeline], self.losses[reference], self.weights)

    def z(self, pipeline: str, reference: str) -> float:
        """Paired z over text, positive where `pipeline` has the higher perplexity."""
        return paired.z(self.losses[pipeline], self.losses[reference], self.weights)

    def separable(self, pipeline: str, reference: str) -> bool:
        """As findings.md has it: over seeds too, and corrected for the number of pairs."""
        sample = Sample(self.text, self.units, self.losses, self.weights, 0, {})
        spread = estimates.pooled(sample, self.names)
        effect = estimates.contrast(sample, estimates.pair(pipeline, reference), spread)
        return effect.p * self.pairs <= families.ALPHA

    @property
    def pairs(self) -> int:
        """How many pairs of orders there are."""
        return math.comb(len(self.names), 2)
