"""Families of comparisons: what is corrected for how many.

A family is corrected as a whole: with m comparisons each interval has the level 1 - 0.05 / m
(Bonferroni), so that all m hold together in at least 95 of 100 studies. A comparison is
*separable* where its simultaneous interval leaves out a tie, which is where m p <= 0.05: verdict
and interval cannot disagree. Holm's step-down p-values (Scandinavian Journal of Statistics 6,
1979) can separate a few more, but no informative simultaneous interval goes with a step-down
test, so these are only named (`holm_only`). Benjamini and Hochberg's (JRSS B 57, 1995) bound
the share of false ones among those that are called separable, not the chance of any.
"""

from collections.abc import Sequence

import numpy as np
import scipy  # its parts are imported at first use
from numpy.typing import ArrayLike

from compression_order.statistics.paired import Array

ALPHA = 0.05


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


def corrected(p: Sequence[float]) -> list[dict[str, float | bool]]:
    """The corrected verdict of every comparison of a family, in its order."""
    if not p:
        return []
    by_rate = scipy.stats.false_discovery_control(p)
    return [
        {
            "p": value,
            "p_holm": float(by_holm),
            "p_bh": float(by_bh),
            "separable": value * len(p) <= ALPHA,
            "holm_only": bool(by_holm <= ALPHA < value * len(p)),
        }
        for value, by_holm, by_bh in zip(p, holm(p), by_rate, strict=True)
    ]
