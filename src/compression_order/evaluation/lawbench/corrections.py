"""Score LawBench's corrected sentences: compare their character edits with the right ones."""

from functools import cache

from opencc import OpenCC

from compression_order.evaluation.lawbench import edits
from compression_order.evaluation.lawbench.counts import Counts

EMPTY = "无内容"  # replaces an empty prediction
FAULTLESS = "没有错误"  # prediction for "no error"
ROOM = 5  # number of characters by which a prediction may exceed the right sentence


def counts(prediction: str, answer: str, sentence: str) -> Counts:
    """Count how the edits of a prediction agree with the right ones.

    LawBench (arXiv 2309.16289, table of tasks): task 2-1, document proofreading. As published:
    line ends and tabs are removed; a prediction more than five characters longer than the right
    sentence is cut to that sentence's length plus five; traditional characters of both become
    simplified ones; white space is removed. Two edits agree if they put the same characters in
    the same place (ChERRANT, span-based correction). The edits are those of `edits.py`, which
    lists differences from ChERRANT's. A prediction of white space alone stops the published code;
    here it counts as empty.

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
    """The place of each edit, and the characters that it puts there."""
    return {
        (edit.start, edit.end, target[edit.other_start : edit.other_end])
        for edit in edits.between(source, target)
    }
