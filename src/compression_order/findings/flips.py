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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from compression_order.findings import listing
from compression_order.findings.listing import Entries, Entry, Numbers
from compression_order.results.guards import Records
from compression_order.statistics import estimates, multiplicity, paired
from compression_order.statistics.multiplicity import Verdicts
from compression_order.statistics.paired import Array

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """The answers of rows to one question set.

    Attributes:
        rows: their names.
        right: right answers or scores, [rows, seeds, questions].
        choice: chosen answers as numbers, [rows, seeds, questions].
    """

    rows: Sequence[str]
    right: Array
    choice: Array

    @cached_property
    def place(self) -> dict[str, int]:
        """The number of each row."""
        return {row: nth for nth, row in enumerate(self.rows)}

    @cached_property
    def accuracy(self) -> Array:
        """Share of right answers of each row, [rows]."""
        share: Array = self.right.mean(axis=(1, 2))
        return share

    def every_two(self, rows: Sequence[str]) -> Numbers:
        """The numbers of every two of the rows that were asked, [2, pairs]."""
        numbers = np.array([self.place[row] for row in rows if row in self.place], dtype=np.intp)
        return numbers[np.array(np.triu_indices(len(numbers), 1))]

    def numbered(self, pairs: Sequence[Sequence[str]]) -> Numbers:
        """The numbers of those pairs of rows of which both were asked, [2, pairs]."""
        place = self.place
        found = [(place[a], place[b]) for a, b in pairs if a in place and b in place]
        return np.array(found, dtype=np.intp).reshape(-1, 2).T

    def differ(self, first: str, second: str) -> float:
        """Share of the answers of two rows that differ."""
        one, other = self.place[first], self.place[second]
        return float(np.mean(self.choice[one] != self.choice[other]))


def read(task: str, rows: Sequence[str], records: Records) -> Answers:
    """The answers of rows to one question set. Generated texts become numbers."""
    number: dict[str, int] = {}
    its = [[record.tasks[task] for record in records[row]] for row in rows]
    choice = [
        [[number.setdefault(text, len(number)) for text in t.answers] or t.choice for t in seeds]
        for seeds in its
    ]
    right = np.array([[t.correct for t in seeds] for seeds in its], dtype=np.float64)
    return Answers(rows, right, np.array(choice, dtype=np.float64))


@dataclass(frozen=True)
class Tested:
    """A family of comparisons of two rows, tested.

    Attributes:
        answers: of the rows.
        two: numbers of the first and the second rows, [2, comparisons].
        only_first: questions that the first alone answers right, [comparisons, seeds].
        only_second: questions that the second alone answers right, [comparisons, seeds].
        error: standard error of the difference of accuracies, [comparisons].
        differing: share of answers that differ, [comparisons].
        verdicts: corrected for the whole family.
    """

    answers: Answers
    two: Numbers
    only_first: Counts
    only_second: Counts
    error: Array
    differing: Array
    verdicts: Verdicts

    @property
    def difference(self) -> Array:
        """First accuracy minus second, [comparisons]."""
        first, second = self.answers.accuracy[self.two]
        return np.asarray(first - second)

    @property
    def either(self) -> Array:
        """Questions that one alone answers right, the mean over seeds, [comparisons]."""
        mean: Array = (self.only_first + self.only_second).mean(axis=1)
        return mean

    @cached_property
    def share(self) -> Array:
        """95% intervals of the first row's share of these, [comparisons, 2]."""
        return share(self.only_first, self.only_second, 0.95)

    @cached_property
    def simultaneous(self) -> Array:
        """The intervals that hold together, [comparisons, 2]."""
        level = multiplicity.simultaneous_level(len(self.error))
        return share(self.only_first, self.only_second, level)

    def entry(self, nth: int) -> Entry:
        """One comparison with its counts, p-values, verdict and intervals."""
        first, second = self.two[:, nth]
        return {
            "first": self.answers.rows[first],
            "second": self.answers.rows[second],
            "accuracy_difference": float(self.answers.accuracy[first])
            - float(self.answers.accuracy[second]),
            "accuracy_difference_se": float(self.error[nth]),
            "only_first_right": self.only_first[nth].tolist(),
            "only_second_right": self.only_second[nth].tolist(),
            "answers_that_differ": float(self.differing[nth]),
            **self.verdicts.of(nth),
            "share_of_first": self.share[nth].tolist(),
            "share_of_first_simultaneous": self.simultaneous[nth].tolist(),
        }

    def family(self, most: int) -> Entry:
        """The family as analysis.json holds it; in short beyond `most` comparisons."""
        chosen = np.arange(len(self.error))
        if len(self.error) > most:
            chosen = listing.in_short(
                self.two, -self.answers.accuracy, self.difference, self.verdicts.separable,
                self.simultaneous - 0.5,
            )  # fmt: skip
        entries = Entries(lambda at: self.entry(chosen[at]), len(chosen))
        return listing.family(self.verdicts, entries)


def tested(answers: Answers, two: Numbers) -> Tested:
    """Comparisons of two rows of a question set, corrected as one family.

    Args:
        answers: of the rows.
        two: numbers of the first and the second rows, [2, comparisons].
    """
    blocks = list(estimates.blocks(two.shape[1])) or [slice(0)]
    parts = zip(*(_counts(answers, two[:, block]) for block in blocks), strict=True)
    only_first, only_second, error, differing = map(np.concatenate, parts)
    verdicts = multiplicity.corrected(p_values(only_first, only_second))
    return Tested(answers, two, only_first, only_second, error, differing, verdicts)


def _counts(answers: Answers, two: Numbers) -> tuple[Counts, Counts, Array, Array]:
    """Questions that one alone answers right, error of the difference, share that differs.

    Equal answers have equal scores, also where a task's score is divided among its questions.
    """
    one, other = answers.right[two]
    chosen, other_chosen = answers.choice[two]
    differ = chosen != other_chosen
    units = np.ones(one.shape[2])
    return (
        np.sum((one > other) & differ, axis=2),
        np.sum((one < other) & differ, axis=2),
        paired.means_and_errors((one - other).mean(axis=1), units)[1],
        differ.mean(axis=(1, 2)),
    )


def p_values(only_first: Counts, only_second: Counts) -> Array:
    """McNemar's p-values, the largest over seeds; 1 where seeds disagree about the direction.

    Args:
        only_first: questions that the first alone answers right, [comparisons, seeds].
        only_second: the same of the second.
    """
    net = only_first - only_second
    agree = np.all(net > 0, axis=1) | np.all(net < 0, axis=1)
    largest = paired.sign_test(only_first, only_second).max(axis=1)
    return np.where(agree, largest, 1.0)


def share(only_first: Counts, only_second: Counts, level: float) -> Array:
    """Intervals over seeds of the first row's share of questions that only one row answers right.

    Args:
        only_first: questions that the first alone answers right, [comparisons, seeds].
        only_second: the same of the second.
        level: of the intervals.

    Returns:
        Both ends, [comparisons, 2]; 0 to 1 where there is no such question.
    """
    either = only_first + only_second
    code = either * (either.max(initial=0) + 1) + only_first  # each pair of counts is computed once
    _, at, back = np.unique(code, return_index=True, return_inverse=True)
    right, samples = only_first.ravel()[at], either.ravel()[at]
    low, high = paired.binomial_interval(right, samples, level)
    back = back.reshape(code.shape)
    return np.stack([low[back].min(axis=1), high[back].max(axis=1)], axis=1)
