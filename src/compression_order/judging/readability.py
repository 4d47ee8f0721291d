"""How easy an English text is to read: Flesch's reading ease.

R. Flesch, "A new readability yardstick", Journal of Applied Psychology 32 (1948):

    206.835 - 1.015 words / sentences - 84.6 syllables / words
"""

import re

EASIEST, HARDEST = 100.0, 0.0

_WORD = re.compile(r"[^\W_]+(?:['’.,][^\W_]+)*")  # don't, 3.14 and e.g are one word each
# a full stop between digits (3.14) or after a single letter (e.g., U.S.) ends no sentence
_END = re.compile(r"(?<!\b[A-Za-z])[.!?]+(?=\s|$|[\"')\]])|\n\s*\n")
_VOWELS = re.compile(r"[aeiouy]+")


def flesch(text: str) -> float:
    """Reading ease, 0 (hardest) to 100 (easiest), clipped; 0 where there is no word."""
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
