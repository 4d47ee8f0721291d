"""Contrasts of log perplexity between rows that were scored on the same units, over seeds.

A contrast is sum(c_r L_r) over rows r, with L_r the log perplexity of row r and coefficients
that sum to zero; a pair is the contrast with +1 and -1. With losses L_rsi of seed s on unit i
(window, document), d_si = sum_r c_r L_rsi, and the estimate is the mean over seeds of the
weighted means over units.

Seeds and units are crossed: every seed scores the same units. Under d_si = m + a_s + b_i + e_si
the variance of the estimate is

    V = V_seed + V_unit - V_both,

with V_seed = var_s(d_s.) / S, V_unit the squared standard error of the unit means d_.i
(`paired.mean_se`), and V_both the part that the first two both hold, that of the residuals
d_si - d_s. - d_.i + d_.. : the unbiased estimate of crossed random effects (Searle, Casella and
McCulloch, Variance Components, 1992, chapter 4), which is also two-way clustering (Cameron,
Gelbach and Miller, "Robust Inference With Multiway Clustering", JBES 29, 2011). It is never
taken to be less than V_seed or V_unit. Degrees of freedom are Satterthwaite's. A bootstrap over
a few seeds is not used: three redrawn seeds spread sqrt(2/3) times too little.

Three seeds alone would leave two degrees of freedom. Orders of the same stages are therefore
assumed to spread equally over seeds, and V_seed is pooled over them: the interaction mean
square of rows and seeds, as in a randomized block design, with (R - 1)(S - 1) degrees.

With one seed V = V_unit: the interval is over text only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy  # its parts are imported at first use

from compression_order.statistics import paired
from compression_order.statistics.paired import Array

Coefficients = Mapping[str, float]


@dataclass(frozen=True)
class Sample:
    """Losses of rows on one text.

    Attributes:
        text: its name.
        units: how many units, and of what kind: `48 documents`.
        losses: row -> nats per token, [seeds, units].
        weights: of the units.
        tokens: mean scored tokens of a unit.
        left_out: row -> why it cannot be compared.
    """

    text: str
    units: str
    losses: Mapping[str, Array]
    weights: Array
    tokens: float
    left_out: Mapping[str, str]

    @property
    def seeds(self) -> int:
        """Replicates."""
        return len(next(iter(self.losses.values())))

    def means(self, row: str) -> Array:
        """Log perplexity of each seed, [seeds]."""
        means: Array = self.losses[row] @ self.weights / self.weights.sum()
        return means


class Spread(NamedTuple):
    """Variance of one row's log perplexity over seeds beside others', and its degrees."""

    variance: float
    df: int


@dataclass(frozen=True)
class Effect:
    """A contrast of log perplexity: nats per token, the logarithm of a perplexity ratio.

    `se` holds what `over` names; `unit_se` is over text alone. `unit_sd` is the standard
    deviation of d_.i and `seed_sd` that of d_s., None with one seed.
    """

    value: float
    se: float
    df: float
    unit_se: float
    unit_sd: float
    seed_sd: float | None

    @property
    def p(self) -> float:
        """Two-sided p-value of no effect, by Student's t; 1 where nothing can be said."""
        if self.value == 0 or not math.isfinite(self.se):
            return 1.0
        if self.se == 0:
            return 0.0
        return float(2 * scipy.stats.t.sf(abs(self.value) / self.se, self.df))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided interval, NaN with fewer than two units."""
        if not math.isfinite(self.se):
            return math.nan, math.nan
        beyond = float(scipy.stats.t.ppf((1 + level) / 2, self.df)) * self.se if self.se else 0.0
        return self.value - beyond, self.value + beyond


def pooled(sample: Sample, rows: Sequence[str]) -> Spread | None:
    """The interaction mean square of rows and seeds; None with one seed or one row."""
    seeds, count = sample.seeds, len(rows)
    if seeds < 2 or count < 2:
        return None
    means = np.array([sample.means(row) for row in rows])
    residual = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    df = (count - 1) * (seeds - 1)
    return Spread(float(np.sum(residual**2) / df), df)


def contrast(sample: Sample, coefficients: Coefficients, spread: Spread | None = None) -> Effect:
    """The effect that the coefficients ask for.

    Args:
        sample: the losses.
        coefficients: row -> c_r, with sum zero.
        spread: of the orders that the rows are among; None: of this contrast's own seeds.
    """
    d = sum(c * sample.losses[row] for row, c in coefficients.items())
    assert isinstance(d, np.ndarray)
    w, (seeds, units) = sample.weights, d.shape
    over_units = paired.mean_se(d.mean(axis=0), w)
    unit_sd = over_units.se * math.sqrt(units)
    if seeds == 1 or units == 1:  # one unit: the errors are NaN
        return Effect(over_units.value, over_units.se, units - 1, over_units.se, unit_sd, None)
    means = d @ w / w.sum()
    squares = sum(c * c for c in coefficients.values())
    own = Spread(float(np.var(means, ddof=1)) / squares, seeds - 1)
    used = spread or own
    of_seeds, of_units = used.variance * squares / seeds, over_units.se**2
    residual = d - means[:, None] - d.mean(axis=0) + over_units.value
    both = np.sum((w * residual) ** 2) * units / (units - 1) / w.sum() ** 2 / (seeds * (seeds - 1))
    variance = max(of_seeds + of_units - float(both), of_seeds, of_units)
    parts = of_seeds**2 / used.df + of_units**2 / (units - 1)
    df = variance**2 / parts if parts else math.inf
    return Effect(
        value=over_units.value,
        se=math.sqrt(variance),
        df=df,
        unit_se=over_units.se,
        unit_sd=unit_sd,
        seed_sd=math.sqrt(own.variance * squares),
    )


def pair(first: str, second: str) -> dict[str, float]:
    """The contrast of the first row over the second."""
    return {first: 1.0, second: -1.0}
