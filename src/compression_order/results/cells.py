"""Compute a cell from the readings of a row and of base, one reading per seed."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compression_order.results.readings import Judged, Measured, Perplexity, Task
from compression_order.statistics import paired
from compression_order.statistics.paired import Estimate

# value before, value after, and the change
Change = tuple[float, float, Estimate]
Readings = Sequence[Any]  # all of one form, one per seed


def mean(ours: Readings, bases: Readings) -> float:
    """Mean over seeds; not finite if one of the values is not finite."""
    return float(np.mean([reading.value for reading in ours]))


def spread(ours: Readings, bases: Readings) -> float | None:
    """Sample standard deviation over seeds, None with one seed."""
    values = [reading.value for reading in ours]
    if len(values) < 2 or not np.all(np.isfinite(values)):
        return None
    return float(np.std(values, ddof=1))


def mean_per(unit: float) -> Callable[[Readings, Readings], float]:
    """The mean over seeds in a larger unit."""
    return lambda ours, bases: float(np.mean([reading.value / unit for reading in ours]))


def smaller_than_base(ours: Sequence[Measured], bases: Sequence[Measured]) -> float:
    """How many times smaller than base, seed by seed."""
    return float(np.mean([b.value / r.value for r, b in zip(ours, bases, strict=True)]))


def over(ours: Sequence[Perplexity], others: Sequence[Perplexity]) -> Estimate:
    """Perplexity over that of other rows: seeds paired, the error over windows or documents."""
    losses, reference = (np.array([r.losses for r in its]) for its in (ours, others))
    with np.errstate(over="ignore", invalid="ignore"):
        return paired.ratio(losses, reference, others[0].weights)


def over_base(ours: Sequence[Perplexity], bases: Sequence[Perplexity]) -> float:
    """The ratio to base."""
    return over(ours, bases).value


def over_base_se(ours: Sequence[Perplexity], bases: Sequence[Perplexity]) -> float:
    """Its standard error."""
    return over(ours, bases).se


def right(ours: Sequence[Task], bases: Sequence[Task]) -> float:
    """Share of right answers, the mean over seeds of each question."""
    return paired.mean_se(np.mean([r.correct for r in ours], axis=0)).value


def right_se(ours: Sequence[Task], bases: Sequence[Task]) -> float:
    """Its standard error over questions."""
    return paired.mean_se(np.mean([r.correct for r in ours], axis=0)).se


def verdict(ours: Sequence[Judged], bases: Sequence[Judged]) -> float:
    """Mean verdict, the mean over seeds of each answer."""
    return paired.mean_se(np.mean([r.scores for r in ours], axis=0)).value


def verdict_se(ours: Sequence[Judged], bases: Sequence[Judged]) -> float:
    """Its standard error over answers."""
    return paired.mean_se(np.mean([r.scores for r in ours], axis=0)).se


# Comparison of a row with its parent


def relative(unit: float = 1.0) -> Callable[[Readings, Readings], Change]:
    """The change of a number that has no standard error, in percent."""

    def change(before: Readings, after: Readings) -> Change:
        was, became = (float(np.mean([r.value / unit for r in its])) for its in (before, after))
        ratios = [a.value / b.value for a, b in zip(after, before, strict=True)]
        return was, became, Estimate(100 * (float(np.mean(ratios)) - 1), np.nan)

    return change


def relative_perplexity(before: Sequence[Perplexity], after: Sequence[Perplexity]) -> Change:
    """The change of a perplexity, in percent, paired over windows or documents."""
    ratio = over(after, before)
    was, became = mean(before, before), mean(after, before)
    return was, became, Estimate(100 * (ratio.value - 1), 100 * ratio.se)


def points(before: Sequence[Task], after: Sequence[Task]) -> Change:
    """The change of an accuracy, in percentage points, paired over questions."""
    was, became = (100 * np.mean([r.correct for r in its], axis=0) for its in (before, after))
    return float(was.mean()), float(became.mean()), paired.mean_se(became - was)
