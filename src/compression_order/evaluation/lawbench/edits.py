"""Character edits between a sentence and its correction, after ChERRANT.

ChERRANT (Zhang et al., MuCGEC, NAACL 2022, section 5) aligns two sentences by a weighted edit
distance with transpositions, joins neighbouring operations into spans and moved words into one
span. This is a new implementation. It differs from ChERRANT's code as follows:

- Every substitution has the cost that ChERRANT gives to dissimilar characters. ChERRANT makes
  characters cheaper that its thesaurus (Cilin), its confusion set or pinyin calls alike. Where
  several alignments exist, another one can be chosen, and spans can then be cut differently.
- Of alignments of equal cost the first is taken, with operations preferred in their order.
  ChERRANT counts the edits of all of them together, unless lengths differ by more than ten.
- There is no time limit per sentence; ChERRANT gives up after ten seconds.
"""

import string
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

MARKS = frozenset(
    string.punctuation + "！？｡＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､"
    "、〃》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—‘’‛“”„‟…‧﹏"
)  # fmt: skip
UNLIKE = 4 / 6 + 1 / 2  # thesaurus and shape of two characters that are not alike
# and by what they are: two marks, two that are none, one of each
BOTH_MARKS, NO_MARK, ONE_MARK = 0.0, 0.25, 0.499


class Edit(NamedTuple):
    """Source characters start:end become target characters other_start:other_end.

    `kind`: M match, S substitution, D deletion, I insertion, T transposition or moved span.
    """

    kind: str
    start: int
    end: int
    other_start: int
    other_end: int


def between(source: str, target: str) -> list[Edit]:
    """The edits that turn one sentence into another, from left to right; none if they are equal."""
    if source == target:
        return []
    spans = list(_joined(_aligned(source, target)))
    moved = list(_moved(spans, source, target))
    cut = (_trimmed(edit, source, target) for edit in moved if edit.kind != "M")
    return [e for e in cut if source[e.start : e.end] != target[e.other_start : e.other_end]]


def substitution(one: str, other: str) -> float:
    """Cost of replacing one character by another; a deletion plus an insertion cost 2."""
    marks = (one in MARKS) + (other in MARKS)
    return UNLIKE + (NO_MARK, ONE_MARK, BOTH_MARKS)[marks]


def _aligned(source: str, target: str) -> list[Edit]:
    """The cheapest alignment, one character per edit except for transpositions."""
    rows, columns = len(source) + 1, len(target) + 1
    cost = [[0.0] * columns for _ in range(rows)]
    last: list[list[tuple[str, int]]] = [[("", 0)] * columns for _ in range(rows)]
    for i in range(1, rows):
        cost[i][0], last[i][0] = float(i), ("D", 1)
    for j in range(1, columns):
        cost[0][j], last[0][j] = float(j), ("I", 1)
    for i in range(1, rows):
        for j in range(1, columns):
            if source[i - 1] == target[j - 1]:
                cost[i][j], last[i][j] = cost[i - 1][j - 1], ("M", 1)
                continue
            size = _transposed(source, target, i, j, cost)
            shifted = cost[i - size][j - size] + size - 1 if size else sys.float_info.max
            changed = cost[i - 1][j - 1] + substitution(source[i - 1], target[j - 1])
            ways = (
                (shifted, ("T", size)), (changed, ("S", 1)),
                (cost[i][j - 1] + 1, ("I", 1)), (cost[i - 1][j] + 1, ("D", 1)),
            )  # fmt: skip
            cost[i][j], last[i][j] = min(ways, key=lambda way: way[0])
    return _traced(last)


def _transposed(source: str, target: str, i: int, j: int, cost: list[list[float]]) -> int:
    """The smallest number of characters before i and j that are the same in another order, or 0.

    A matched pair on the way ends the search.
    """
    surplus: dict[str, int] = {}
    unlike = 0  # characters that one side has more often
    for size in range(1, min(i, j) + 1):
        if size > 1 and cost[i - size + 1][j - size + 1] == cost[i - size][j - size]:
            return 0
        for character, step in ((source[i - size], 1), (target[j - size], -1)):
            before = surplus.get(character, 0)
            surplus[character] = before + step
            unlike += (before + step != 0) - (before != 0)
        if size > 1 and not unlike:
            return size
    return 0


def _traced(last: list[list[tuple[str, int]]]) -> list[Edit]:
    """The operations back from the ends of both sentences, in order."""
    i, j = len(last) - 1, len(last[0]) - 1
    found = []
    while i or j:
        kind, size = last[i][j]
        before, other = (i if kind == "I" else i - size), (j if kind == "D" else j - size)
        found.append(Edit(kind, before, i, other, j))
        i, j = before, other
    return found[::-1]


def _joined(edits: Sequence[Edit]) -> Iterator[Edit]:
    """Runs of matches and runs of changes as one span; transpositions stay alone.

    A run of just deletions and insertions is not joined; other mixed runs become a substitution.
    """
    for kind, group in groupby(edits, lambda edit: edit.kind if edit.kind in "MT" else "X"):
        run = list(group)
        kinds = {edit.kind for edit in run}
        if kind == "T" or kinds == {"D", "I"}:
            yield from run
        else:
            yield _span(kinds.pop() if len(kinds) == 1 else "S", run)


def _span(kind: str, run: Sequence[Edit]) -> Edit:
    first, last = run[0], run[-1]
    return Edit(kind, first.start, last.end, first.other_start, last.other_end)


def _moved(edits: Sequence[Edit], source: str, target: str) -> Iterator[Edit]:
    """Two changes around a match as one span where they move or swap what they hold."""
    at = 0
    while at < len(edits):
        three = edits[at : at + 3]
        if len(three) == 3 and _moves(three, source, target):
            yield _span("T", three)
            at += 3
        else:
            yield edits[at]
            at += 1


def _moves(three: Sequence[Edit], source: str, target: str) -> bool:
    kinds = "".join(edit.kind for edit in three)
    before = [source[edit.start : edit.end] for edit in three]
    after = [target[edit.other_start : edit.other_end] for edit in three]
    if kinds == "SMS":
        if min(map(len, (before[0], after[0], before[2], after[2]))) == 1:
            return before[0] == after[2] and after[0] == before[2]
        return near(before[0], after[2]) and near(after[0], before[2])
    if kinds not in ("DMI", "DTI", "IMD", "ITD"):
        return False
    gone, come = (before[0], after[2]) if kinds[0] == "D" else (before[2], after[0])
    if gone in MARKS or come in MARKS or abs(len(gone) - len(come)) > 1:
        return False
    if min(len(gone), len(come)) == 1:
        return gone == come
    return near(gone, come) or (len(gone) == len(come) and come in gone + gone)


def near(one: str, other: str) -> bool:
    """Whether at most one insertion, deletion or substitution turns one text into the other."""
    short, long = sorted((one, other), key=len)
    if len(long) - len(short) > 1:
        return False
    same = next(
        (i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short)
    )
    return short[same + (len(short) == len(long)) :] == long[same + 1 :]


def _trimmed(edit: Edit, source: str, target: str) -> Edit:
    """Remove from a substitution the characters that both sides share at its ends."""
    if edit.kind != "S":
        return edit
    _, start, end, other_start, other_end = edit
    while start < end and other_start < other_end and source[start] == target[other_start]:
        start, other_start = start + 1, other_start + 1
    while start < end and other_start < other_end and source[end - 1] == target[other_end - 1]:
        end, other_end = end - 1, other_end - 1
    kind = "I" if start == end else "D" if other_start == other_end else "S"
    return Edit(kind, start, end, other_start, other_end)
