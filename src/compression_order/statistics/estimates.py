"""Contrasts of log perplexity between rows that were scored on the same units, over seeds.

A contrast is sum(c_r L_r) over rows r, with L_r the log perplexity of row r and coefficients
that sum to zero; a pair is the contrast with +1 and -1. With losses L_rsi of seed s on unit i
(window, document), d_si = sum_r c_r L_rsi, and the estimate is the mean over seeds of the
weighted means over units.

Seeds and units are crossed: every seed scores the same units. Under d_si = m + a_s + b_i + e_si
the variance of the estimate is

    V = V_seed + V_unit,

with V_seed = var_s(d_s.) / S and V_unit the squared standard error of the unit means d_.i
(`paired.mean_se`). Both hold the variance of e_si, which the unbiased estimate of crossed random
effects (Searle, Casella and McCulloch, Variance Components, 1992, chapter 4) counts once: with few
seeds that correction is as uncertain as it is small, and intervals without it are never too
narrow. Degrees of freedom are Satterthwaite's. Seeds are never bootstrapped: three redrawn seeds
spread sqrt(2/3) times too little.

Three seeds alone would leave two degrees of freedom. Orders of the same stages are therefore
assumed to spread equally over seeds, and V_seed is pooled over them: the interaction mean
square of rows and seeds, as in a randomized block design, with (R - 1)(S - 1) degrees.

With one seed V = V_unit: the interval is over text only.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy  # its parts are imported at first use
from numpy.typing import ArrayLike, NDArray

from compression_order.statistics import paired
from compression_order.statistics.contrast import Coefficients
from compression_order.statistics.paired import Array

Matrix = Any  # scipy's sparse array, [contrasts, rows]
BLOCK = 512  # contrasts computed at once: bounds the memory of a large family


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

    @cached_property
    def stacked(self) -> Array:
        """The losses of all rows, [rows, seeds, units]."""
        return np.array(list(self.losses.values()))

    @cached_property
    def seed_means(self) -> Array:
        """Log perplexity of every row and seed, [rows, seeds]."""
        means: Array = self.stacked @ self.weights / self.weights.sum()
        return means

    def means(self, row: str) -> Array:
        """Log perplexity of each seed, [seeds]."""
        means: Array = self.losses[row] @ self.weights / self.weights.sum()
        return means


class Spread(NamedTuple):
    """Variance of one row's log perplexity over seeds beside others', and its degrees.

    Both are numbers, or arrays with one of each for every contrast; NaN: not known.
    """

    variance: ArrayLike
    df: ArrayLike


@dataclass(frozen=True)
class Effects:
    """Contrasts of log perplexity, [contrasts]: nats per token, logarithms of perplexity ratios.

    `se` holds seeds and units where there are several seeds, units alone with one; `unit_se` is
    over text alone. `unit_sd` is the standard deviation of d_.i and `seed_sd` that of d_s., None
    with one seed. `agreeing` counts the seeds whose own estimate has the sign of the whole.
    """

    value: Array
    se: Array
    df: Array
    unit_se: Array
    unit_sd: Array
    seed_sd: Array | None
    agreeing: NDArray[np.intp]

    @property
    def p(self) -> Array:
        """Two-sided p-values of no effect, by Student's t; 1 where nothing can be said."""
        with np.errstate(divide="ignore", invalid="ignore"):
            tails = 2 * scipy.stats.t.sf(np.abs(self.value) / self.se, self.df)
        known = np.where(self.se == 0, 0.0, tails)
        return np.where((self.value == 0) | ~np.isfinite(self.se), 1.0, known)

    def interval(self, level: float = 0.95) -> Array:
        """Two-sided intervals, [contrasts, 2]; NaN with fewer than two units."""
        beyond = np.zeros_like(self.se)
        some = self.se != 0  # NaN among them
        beyond[some] = scipy.stats.t.ppf((1 + level) / 2, self.df[some]) * self.se[some]
        return np.stack([self.value - beyond, self.value + beyond], axis=1)


def matrix(rows: Sequence[str], asked: Sequence[Coefficients]) -> Matrix:
    """Contrasts as a sparse matrix.

    Args:
        rows: of the sample, in its order: the columns.
        asked: row -> c_r of each contrast.
    """
    column = {row: nth for nth, row in enumerate(rows)}
    ends = np.cumsum([0, *map(len, asked)])
    columns = [column[row] for its in asked for row in its]
    values = [float(c) for its in asked for c in its.values()]
    shape = (len(asked), len(rows))
    return scipy.sparse.csr_array((values, columns, ends), shape=shape, dtype=np.float64)


def pairs(two: NDArray[np.intp], rows: int) -> Matrix:
    """The contrasts of rows over other rows.

    Args:
        two: numbers of the first and the second rows, [2, contrasts].
        rows: how many the sample has.
    """
    count = two.shape[1]
    values, ends = np.tile([1.0, -1.0], count), np.arange(0, 2 * count + 1, 2)
    return scipy.sparse.csr_array((values, two.T.ravel(), ends), shape=(count, rows))


def blocks(count: int) -> Iterator[slice]:
    """Cut so many contrasts into blocks."""
    return (slice(start, start + BLOCK) for start in range(0, count, BLOCK))


def pooled(means: Array) -> Spread | None:
    """The interaction mean square of rows and seeds; None with one seed or one row.

    Args:
        means: log perplexities of rows that spread equally, [rows, seeds].
    """
    count, seeds = means.shape
    if seeds < 2 or count < 2:
        return None
    residual = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    df = (count - 1) * (seeds - 1)
    return Spread(float(np.sum(residual**2) / df), df)


def contrasts(sample: Sample, asked: Matrix, spread: Spread | None = None) -> Effects:
    """The effects that the coefficients ask for.

    Args:
        sample: the losses.
        asked: c_r of each contrast with sum zero, [contrasts, rows], as `matrix` makes it.
        spread: of the orders that the rows are among; None or NaN: of a contrast's own seeds.
    """
    count = asked.shape[0]
    known = spread or Spread(math.nan, math.nan)
    variance, df = (np.broadcast_to(np.asarray(its, np.float64), count) for its in known)
    parts = [
        _contrasts(sample, asked[part], Spread(variance[part], df[part])) for part in blocks(count)
    ]
    names = ("value", "se", "df", "unit_se", "unit_sd", "agreeing")
    joined = {name: np.concatenate([getattr(its, name) for its in parts]) for name in names}
    several = [its.seed_sd for its in parts if its.seed_sd is not None]
    return Effects(**joined, seed_sd=np.concatenate(several) if several else None)


def _contrasts(sample: Sample, asked: Matrix, spread: Spread) -> Effects:
    """The effects of one block, with a spread each."""
    w, (rows, seeds, units) = sample.weights, sample.stacked.shape
    d = (asked @ sample.stacked.reshape(rows, -1)).reshape(-1, seeds, units)
    value, unit_se = paired.means_and_errors(d.mean(axis=1), w)
    unit_sd = unit_se * math.sqrt(units)
    means = d @ w / w.sum()
    agreeing = (np.sign(means) == np.sign(value)[:, None]).sum(axis=1)
    if seeds == 1 or units == 1:  # one unit: the errors are NaN
        df = np.full(len(d), units - 1.0)
        return Effects(value, unit_se, df, unit_se, unit_sd, None, agreeing)
    squares = asked.power(2).sum(axis=1)
    of_own_seeds = np.var(means, axis=1, ddof=1)
    pooled_too = ~np.isnan(spread.variance)
    used = np.where(pooled_too, spread.variance, of_own_seeds / squares)
    used_df = np.where(pooled_too, spread.df, seeds - 1)
    of_seeds, of_units = used * squares / seeds, unit_se**2
    variance = of_seeds + of_units
    parts = of_seeds**2 / used_df + of_units**2 / (units - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.where(parts > 0, variance**2 / parts, math.inf)
    own_sd = np.sqrt(of_own_seeds)
    return Effects(value, np.sqrt(variance), df, unit_se, unit_sd, own_sd, agreeing)
