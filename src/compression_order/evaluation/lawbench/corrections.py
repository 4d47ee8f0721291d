"""LawBench's corrected sentences: how their character edits agree with the right ones."""

from functools import cache

from opencc import OpenCC

from compression_order.evaluation.lawbench import edits
from compression_order.evaluation.lawbench.counts import Counts

EMPTY = "无内容"  # what stands for an empty prediction
FAULTLESS = "没有错误"  # a prediction that says: there is no error
ROOM = 5  # characters that a prediction may have more than the right sentence


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
