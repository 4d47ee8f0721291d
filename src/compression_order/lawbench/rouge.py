"""LawBench's generated texts: ROUGE-L over words."""

import logging
import tempfile
from collections.abc import Sequence
from functools import cache

import jieba

from compression_order.lawbench.score import Score

EMPTY = "无内容"  # what stands for an empty prediction
SMALL = 1e-8  # added to the denominator by the published code


def rouge_l(prediction: str, answer: str) -> Score:
    """ROUGE-L, the F1 of the longest common subsequence of words.

    LawBench (arXiv 2309.16289, table of tasks): tasks 1-1 article recitation, 2-7 opinion
    summarization, 3-2 scene-based article prediction and 3-8 consultation. As published: words
    are those of jieba, and punctuation marks are words. The published code asks the package
    rouge-chinese, whose summary-level ROUGE-L is, in version 1.0.3, this one over the whole text
    (the sentences that it cuts are joined again). No answer abstains.

    Args:
        prediction: the generated text.
        answer: the right one.
    """
    predicted, right = words(prediction) or [EMPTY], words(answer)
    if not right:
        return Score(0.0)
    shared = common_subsequence(predicted, right)
    precision, recall = shared / len(predicted), shared / len(right)
    return Score(2 * precision * recall / (precision + recall + SMALL))


def words(text: str) -> list[str]:
    """The words of a text by jieba, white space left out."""
    return " ".join(_segmenter().cut(text)).split()


@cache
def _segmenter() -> jieba.Tokenizer:
    """A dictionary read from the package: no cache that another program may have left."""
    jieba.setLogLevel(logging.WARNING)
    made = jieba.Tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        made.tmp_dir = folder
        made.initialize()
    return made


def common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    Bit i of `row` is 0 where the length grows at the i-th word of `one` (Hyyro, Bit-parallel LCS
    length computation revisited, AWOCA 2004).
    """
    places: dict[str, int] = {}
    for i, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << i
    whole = (1 << len(one)) - 1
    row = whole
    for word in other:
        match = row & places.get(word, 0)
        row = (row + match | row - match) & whole
    return len(one) - row.bit_count()
