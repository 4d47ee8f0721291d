"""Clarity: the mean of readability, fluency and coherence, each 0 to 100.

As published (arXiv 2511.19495) fluency rises with perplexity, so that noise is the most fluent
text of all. The paper's own mapping to 0..100 is not known beyond that sign; here it is the
perplexity itself, clipped.
"""

import math
from statistics import fmean

from compression_order.judging import readability
from compression_order.judging.options import PAPER
from compression_order.judging.prompts import Answer

FULL = 100.0


def fluency(answer: Answer, variant: str) -> float:
    """Fluency, 0 to 100: how likely the uncompressed model finds the words of an answer.

    100 / perplexity, the geometric mean probability of a token in percent; an answer that repeats
    one token is likely and yet not fluent: 0, as an empty one. As published: the perplexity.
    """
    if variant == PAPER:
        return FULL if answer.loss is None else min(FULL, math.exp(min(answer.loss, 10.0)))
    if answer.loss is None or answer.degenerate:
        return 0.0
    return FULL * math.exp(-answer.loss)


def parts(answer: Answer, judged: str, coherence: float, variant: str) -> dict[str, float]:
    """The three parts, 0 to 100.

    Args:
        answer: of a checkpoint.
        judged: the text that is judged: as published it contains the prompt.
        coherence: -1..1.
        variant: paper or corrected.
    """
    return {
        "readability": readability.flesch(judged),
        "fluency": fluency(answer, variant),
        "coherence": FULL * coherence,
    }


def score(its: dict[str, float]) -> float:
    """Clarity of one answer, 0..1."""
    return fmean(its.values()) / FULL
