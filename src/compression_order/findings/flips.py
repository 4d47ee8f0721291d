"""Question sets: McNemar's exact test on stored answers, for every two rows.

Consider the questions that only one of two rows answers right. If both rows are equally good,
each has half of them (McNemar, Psychometrika 12, 1947). The first row's share is binomial. Its
exact interval (Clopper and Pearson, Biometrika 26, 1934) excludes one half exactly where the
exact two-sided p-value is below the level, so that verdict and interval agree.

Seeds answer the same questions and cannot be pooled into one binomial. With several seeds, each
one is tested: two rows are *separable* only if all seeds agree with the same direction, p is the
largest over seeds (an intersection-union test; Berger, Technometrics 24, 1982), and the interval
spans those of all seeds.

If answers have scores, the test is the sign test: it counts the questions whose answers differ
and where one row scores higher, by any amount. The difference of mean scores, reported beside it,
can have the opposite sign.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compression_order.statistics import multiplicity, paired
from compression_order.statistics.paired import Array

Entry = dict[str, Any]
Bools = NDArray[np.bool_]


def tested(
    rows: Sequence[str], right: Mapping[str, Array], choice: Mapping[str, Array]
) -> list[Entry]:
    """Every two rows of a family on one question set.

    Args:
        rows: of the family.
        right: row -> right answers, [seeds, questions].
        choice: row -> chosen answers, [seeds, questions].
    """
    asked = [(a, b) for a, b in combinations(rows, 2) if a in right and b in right]
    level = multiplicity.simultaneous_level(len(asked))
    sides = [_sides(right[a], right[b], choice[a] != choice[b]) for a, b in asked]
    verdicts = multiplicity.corrected([p_value(*its) for its in sides])
    return [
        {
            "first": a,
            "second": b,
            "accuracy_difference": float(right[a].mean() - right[b].mean()),
            "accuracy_difference_se": paired.mean_se((right[a] - right[b]).mean(axis=0)).se,
            "only_first_right": [int(n) for n in np.sum(first, axis=1)],
            "only_second_right": [int(n) for n in np.sum(second, axis=1)],
            "answers_that_differ": float(np.mean(choice[a] != choice[b])),
            **verdict,
            "share_of_first": list(share(first, second, 0.95)),
            "share_of_first_simultaneous": list(share(first, second, level)),
        }
        for (a, b), (first, second), verdict in zip(asked, sides, verdicts, strict=True)
    ]


def _sides(first: Array, second: Array, differ: Bools) -> tuple[Bools, Bools]:
    """Where the first is ahead and where the second is, [seeds, questions].

    Equal answers have equal scores, also where a task's score is divided among its questions.
    """
    return (first > second) & differ, (first < second) & differ


def p_value(first: Bools, second: Bools) -> float:
    """McNemar's p-value, the largest over seeds; 1 where seeds disagree about the direction."""
    net = np.sum(first, axis=1) - np.sum(second, axis=1)
    if not (np.all(net > 0) or np.all(net < 0)):
        return 1.0
    return max(paired.mcnemar(a, b) for a, b in zip(first, second, strict=True))


def share(first: Bools, second: Bools, level: float) -> tuple[float, float]:
    """Interval over seeds of the first row's share of questions that only one row answers right."""
    ends = []
    for a, b in zip(first, second, strict=True):
        only_a, only_b = int(np.sum(a > b)), int(np.sum(a < b))
        either = only_a + only_b
        ends.append(paired.binomial_interval(only_a, either, level) if either else (0.0, 1.0))
    return min(low for low, _ in ends), max(high for _, high in ends)
