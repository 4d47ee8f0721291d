"""Families of comparisons: what is corrected for how many.

A family is corrected as a whole: with m comparisons each interval has the level 1 - 0.05 / m
(Bonferroni), so that all m hold together in at least 95 of 100 studies. A comparison is
*separable* where its simultaneous interval leaves out a tie, which is where m p <= 0.05: verdict
and interval cannot disagree. Holm's step-down p-values (Scandinavian Journal of Statistics 6,
1979) can separate a few more, but no informative simultaneous interval goes with a step-down
test, so these are only named (`holm_only`). Benjamini and Hochberg's (JRSS B 57, 1995) bound
the share of false ones among those that are called separable, not the chance of any.
"""

from typing import NamedTuple

import numpy as np
import scipy  # its parts are imported at first use
from numpy.typing import ArrayLike, NDArray

from compression_order.statistics.paired import Array

ALPHA = 0.05

Bools = NDArray[np.bool_]


def holm(p: ArrayLike) -> Array:
    """Holm's adjusted p-values: the smallest level at which each is rejected."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(steps))
    return adjusted


def simultaneous_level(comparisons: int) -> float:
    """The level of each of so many intervals that hold together at 95%."""
    return 1 - ALPHA / max(1, comparisons)


class Verdicts(NamedTuple):
    """The corrected verdicts of a family, an array of its length each.

    Attributes:
        p: as given.
        p_holm: adjusted as Holm says.
        p_bh: adjusted as Benjamini and Hochberg say.
        separable: whether the simultaneous interval leaves out a tie.
        holm_only: whether Holm's test alone separates it.
    """

    p: Array
    p_holm: Array
    p_bh: Array
    separable: Bools
    holm_only: Bools

    def of(self, nth: int) -> dict[str, float | bool]:
        """The verdict of one comparison, by name."""
        return {name: its[nth].item() for name, its in self._asdict().items()}


def corrected(p: ArrayLike) -> Verdicts:
    """The corrected verdict of every comparison of a family, in its order."""
    values = np.asarray(p, dtype=np.float64)
    by_holm, separable = holm(values), values * len(values) <= ALPHA
    by_rate = scipy.stats.false_discovery_control(values) if len(values) else values
    return Verdicts(values, by_holm, by_rate, separable, (by_holm <= ALPHA) & ~separable)
