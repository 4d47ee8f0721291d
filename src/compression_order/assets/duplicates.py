"""Conversations of a chat text that say nearly the same: one of them is kept.

Two conversations are alike if their prompts are the same but for case, punctuation and spaces, or
if half or more of their five-word sequences are shared (Jaccard index; sequences and sketches as in
Lee et al. 2022, "Deduplicating Training Data Makes Language Models Better", section 4.2). Only
conversations that share a sequence of their sketches, those of lowest hash, are compared.
"""

import json
import re
import zlib
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

WORDS = 5  # of a sequence
ALIKE = 0.5  # least overlap of two that count as one
SKETCH = 16  # sequences of a conversation by which candidates are found: those of lowest hash

Record = dict[str, Any]


def prompt(record: Record) -> str:
    """What a conversation asks: every message but the last one, the answer."""
    return json.dumps(record["messages"][:-1])


def without_repeated_prompts(records: Sequence[Record]) -> list[int]:
    """Indices of the records, without those whose exact prompt came before."""
    first: dict[str, int] = {}
    for index, record in enumerate(records):
        first.setdefault(prompt(record), index)
    return list(first.values())


def distinct(records: Sequence[Record]) -> list[int]:
    """Indices of the records, without those that are nearly the same as one that is kept."""
    prompts: set[str] = set()
    candidates: dict[int, list[int]] = {}
    kept: list[int] = []

    @cache
    def sequences(index: int) -> frozenset[int]:
        return frozenset(_sequences(_words(m["content"] for m in records[index]["messages"])))

    for index, record in enumerate(records):
        asked = " ".join(_words(m["content"] for m in record["messages"][:-1]))
        sketch = sorted(sequences(index))[:SKETCH]
        near = {other for its in sketch for other in candidates.get(its, ())}
        if asked in prompts or any(_alike(sequences(index), sequences(o)) for o in sorted(near)):
            continue
        prompts.add(asked)
        kept.append(index)
        for its in sketch:
            candidates.setdefault(its, []).append(index)
    return kept


def _words(contents: Iterable[Any]) -> list[str]:
    """The words in small letters; what has none, such as "??", is one word as it stands."""
    whole = " ".join(map(str, contents)).lower()
    return re.findall(r"\w+", whole) or [whole]


def _sequences(words: Sequence[str]) -> Iterable[int]:
    """Hashes of every five words in a row; of all words where there are fewer."""
    last = max(1, len(words) - WORDS + 1)
    return (zlib.crc32(" ".join(words[i : i + WORDS]).encode()) for i in range(last))


def _alike(one: frozenset[int], other: frozenset[int]) -> bool:
    both = len(one & other)
    return both >= ALIKE * (len(one) + len(other) - both)
