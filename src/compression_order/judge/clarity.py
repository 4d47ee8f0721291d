"""Clarity: the mean of readability, fluency and coherence, each 0 to 100.

As published (arXiv 2511.19495) fluency rises with perplexity, so that noise is the most fluent
text of all. The paper's own mapping to 0..100 is not known beyond that sign; here it is the
perplexity itself, clipped.
"""

import math
import re
from statistics import fmean

from compression_order.judge.prompts import Answer
from compression_order.judge.settings import PAPER

FULL = 100.0
EASIEST, HARDEST = 100.0, 0.0

_WORD = re.compile(r"[^\W_]+(?:['’.,][^\W_]+)*")  # don't, 3.14 and e.g are one word each
# a full stop between digits (3.14) or after a single letter (e.g., U.S.) ends no sentence
_END = re.compile(r"(?<!\b[A-Za-z])[.!?]+(?=\s|$|[\"')\]])|\n\s*\n")
_VOWELS = re.compile(r"[aeiouy]+")


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
        "readability": flesch(judged),
        "fluency": fluency(answer, variant),
        "coherence": FULL * coherence,
    }


def score(its: dict[str, float]) -> float:
    """Clarity of one answer, 0..1."""
    return fmean(its.values()) / FULL


def flesch(text: str) -> float:
    """Flesch's reading ease, 0 (hardest) to 100 (easiest), clipped; 0 where there is no word.

    206.835 - 1.015 words / sentences - 84.6 syllables / words (R. Flesch, "A new readability
    yardstick", Journal of Applied Psychology 32, 1948).
    """
    words = _WORD.findall(text)
    if not words:
        return HARDEST
    sentences = sum(bool(_WORD.search(part)) for part in _END.split(text))
    syllabic = sum(map(syllables, words))
    ease = 206.835 - 1.015 * len(words) / max(1, sentences) - 84.6 * syllabic / len(words)
    return min(EASIEST, max(HARDEST, ease))


def syllables(word: str) -> int:
    """Syllables of an English word: groups of vowels, without an ending that is not spoken.

    A rule, not a dictionary: a number counts as one. Silent are a last e (make), but not after a
    consonant and l (table), and the e of -es and -ed (makes, looked) except after a sound that
    needs it (boxes, wanted).
    """
    letters = re.sub(r"[^a-z]", "", word.lower())
    groups = len(_VOWELS.findall(letters))
    silent = (
        re.search(r"[^aeiouy]e$", letters) and not re.search(r"[^aeiouyl]le$", letters)
    ) or re.search(r"([^aeiouytd]ed|[^aeiouyscxzgh]es)$", letters)
    return max(1, groups - bool(silent))
