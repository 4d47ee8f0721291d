"""Detect readings of one checkpoint that no working model gives.

A card names the check of its column. Checks that look at several rows are in guards.py.
"""

import math
from collections.abc import Iterator

import numpy as np

from compression_order.results.readings import Judged, Measured, Perplexity, Task
from compression_order.statistics import paired

ONE_ANSWER = 0.99  # a task with at least this share of equal choices has no meaning
DEGENERATE = 0.5  # answers with at least this share of empty or repetitive texts have no meaning
FEWEST_SAMPLES = 20  # with fewer samples equal choices are not suspicious


def finite(column: str, reading: Measured | Perplexity) -> Iterator[str]:
    """Find a number that is not finite."""
    if not math.isfinite(reading.value):
        yield f"{column} is not finite"


def answers(column: str, reading: Task) -> Iterator[str]:
    """Find answers to one question set that are worse than guessing, or all alike."""
    samples = len(reading.correct)
    if not math.isfinite(reading.value):
        yield f"{column} is not finite"
        return
    right = float(reading.correct.sum())
    if not reading.graded and below_chance(round(right), samples, reading.chance):
        yield (
            f"{column} {reading.value:.3f} is below chance {reading.chance:.3f} "
            "beyond its 95% interval"
        )
    share = np.unique(reading.choice, return_counts=True)[1].max() / samples
    if share >= ONE_ANSWER and samples >= FEWEST_SAMPLES:
        yield f"{column}: one answer for {share:.1%} of {samples} questions"
    broken = sum(map(_degenerate, reading.answers)) / samples
    if broken >= DEGENERATE and samples >= FEWEST_SAMPLES:
        yield f"{column}: {broken:.1%} of {samples} answers are empty or repeat one word"


def verdicts(column: str, reading: Judged) -> Iterator[str]:
    """Find a judge that gives every answer the same score."""
    samples = len(reading.scores)
    if samples >= FEWEST_SAMPLES and np.ptp(reading.scores) == 0:
        yield f"{column}: one verdict, {reading.value:.3f}, for all {samples} answers"


def below_chance(right: int, samples: int, chance: float) -> bool:
    """Whether a share of right answers is below chance beyond its 95% interval."""
    # the interval contains the share, so only a share below chance needs it
    below = right < chance * samples
    return below and bool(paired.binomial_interval(right, samples)[1] < chance)


def _degenerate(answer: str) -> bool:
    """Whether a text is empty, or one word or one character over and over."""
    words = answer.split()
    for parts in (words, "".join(words)):
        if len(parts) > 2 and len(set(parts)) == 1:
            return True
    return not words
