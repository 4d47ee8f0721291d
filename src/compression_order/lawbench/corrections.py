"""LawBench's corrected sentences: F0.5 over character edits."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from opencc import OpenCC

from compression_order.lawbench import edits

EMPTY = "无内容"  # what stands for an empty prediction
FAULTLESS = "没有错误"  # a prediction that says: there is no error
ROOM = 5  # characters that a prediction may have more than the right sentence


class Counts(NamedTuple):
    """Edits of one sentence: right ones made, wrong ones made, right ones not made."""

    right: int
    wrong: int
    missed: int


def counts(prediction: str, answer: str, sentence: str) -> Counts:
    """How the edits of a prediction agree with the right ones.

    LawBench (arXiv 2309.16289, table of tasks): task 2-1, document proofreading. As published:
    line ends and tabs go, a prediction more than five characters longer than the right sentence
    is cut five characters beyond its length, traditional characters of both become simplified
    ones, white space goes, and two edits agree where they put the same characters in the same
    place (ChERRANT, span-based correction). The edits are those of `edits.py`, which says how
    they can differ from ChERRANT's. A prediction of white space alone stops the published code;
    here it is an empty one.

    Args:
        prediction: the generated text.
        answer: the right sentence.
        sentence: the faulty one.
    """
    made = prediction.replace("\n", "").replace("\t", "")
    made = made[: len(answer) + ROOM]
    source = _bare(sentence.split("\n", 1)[0])
    made, right = _simplified(_bare(made) or EMPTY), _simplified(_bare(answer))
    theirs = _corrections(source, source if made == FAULTLESS else made)
    ours = _corrections(source, right)
    both = len(theirs & ours)
    return Counts(both, len(theirs) - both, len(ours) - both)


def _bare(text: str) -> str:
    return "".join(text.split())


def _simplified(text: str) -> str:
    return str(_converter().convert(text))


@cache
def _converter() -> OpenCC:
    return OpenCC("t2s")


def _corrections(source: str, target: str) -> set[tuple[int, int, str]]:
    """Where an edit is, and what it puts there."""
    return {
        (edit.start, edit.end, target[edit.other_start : edit.other_end])
        for edit in edits.between(source, target)
    }


def f05(items: Sequence[Counts]) -> float:
    """F0.5 over all sentences together: 1.25 right / (1.25 right + wrong + 0.25 missed).

    1 where nothing was to be corrected and nothing was. The published script rounds precision,
    recall and F to four decimals.
    """
    right, wrong, missed = (sum(part) for part in zip(*items, strict=True))
    whole = 1.25 * right + wrong + 0.25 * missed
    return 1.25 * right / whole if whole else 1.0


def contributions(items: Sequence[Counts]) -> list[float]:
    """One number a sentence whose mean is F0.5 over all sentences.

    A ratio of sums R = sum a / sum b has the linearized values R + n (a_i - R b_i) / sum b. Their
    spread gives the standard error of R by the delta method (Cochran, Sampling Techniques, 3rd
    edition, chapter 6), and so they can stand where other tasks have the score of a question.
    """
    ratio = f05(items)
    parts = [(1.25 * i.right, 1.25 * i.right + i.wrong + 0.25 * i.missed) for i in items]
    whole = sum(b for _, b in parts)
    if not whole:
        return [1.0] * len(items)
    return [ratio + len(items) * (a - ratio * b) / whole for a, b in parts]
