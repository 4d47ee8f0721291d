"""F0.5 over all sentences of LawBench's task 2-1, document proofreading."""

from collections.abc import Sequence
from typing import NamedTuple


class Counts(NamedTuple):
    """Edits of one sentence: right ones made, wrong ones made, right ones not made."""

    right: int
    wrong: int
    missed: int


def f05(items: Sequence[Counts]) -> float:
    """F0.5 over all sentences together: 1.25 right / (1.25 right + wrong + 0.25 missed).

    F0.5 is 1 if nothing had to be corrected and nothing was. The published script rounds
    precision, recall and F to four decimals.
    """
    right, wrong, missed = (sum(part) for part in zip(*items, strict=True))
    whole = 1.25 * right + wrong + 0.25 * missed
    return 1.25 * right / whole if whole else 1.0


def contributions(items: Sequence[Counts]) -> list[float]:
    """One number per sentence; their mean is F0.5 over all sentences.

    A ratio of sums R = sum a / sum b has the linearized values R + n (a_i - R b_i) / sum b. Their
    spread gives the standard error of R by the delta method (Cochran, Sampling Techniques, 3rd
    edition, chapter 6). They can therefore serve as the per-question scores of other tasks.
    """
    ratio = f05(items)
    parts = [(1.25 * i.right, 1.25 * i.right + i.wrong + 0.25 * i.missed) for i in items]
    whole = sum(b for _, b in parts)
    if not whole:
        return [1.0] * len(items)
    return [ratio + len(items) * (a - ratio * b) / whole for a, b in parts]
