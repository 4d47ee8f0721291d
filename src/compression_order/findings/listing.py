"""List the comparisons of a family, in whole or in short, and write analysis.json.

The comparisons of every two rows grow with the square of the rows. A family of more of them than a
limit is listed in short, in so many entries as it has rows, while its counts stay those of all.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import scipy  # its parts are imported at first use
from numpy.typing import NDArray

from compression_order.common import files
from compression_order.statistics.multiplicity import Bools, Verdicts
from compression_order.statistics.paired import Array

DIGITS = 9  # significant digits, as many as a stored loss has
SHORT = 1_000  # comparisons of every two rows that are listed one by one
SHORT_PRIMARY = 10_000  # the same on the primary text

Entry = dict[str, Any]
Numbers = NDArray[np.intp]


class Entries(Sequence[Entry]):
    """The listed comparisons of a family; an entry is made when it is asked for.

    Args:
        make: place in the list -> entry.
        count: of the list.
    """

    def __init__(self, make: Callable[[int], Entry], count: int) -> None:
        self._make, self._count = make, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> Entry: ...
    @overload
    def __getitem__(self, at: slice) -> list[Entry]: ...
    def __getitem__(self, at: int | slice) -> Entry | list[Entry]:
        if isinstance(at, slice):
            return [self[nth] for nth in range(*at.indices(self._count))]
        if not -self._count <= at < self._count:
            raise IndexError(at)
        made: Entry = plain(self._make(at % self._count))
        return made


def family(verdicts: Verdicts, entries: Entries) -> Entry:
    """A family as analysis.json holds it: counts of all comparisons, and those that are listed."""
    return {
        "comparisons": len(verdicts.p),
        "separable": int(verdicts.separable.sum()),
        "holm_only": int(verdicts.holm_only.sum()),
        "listed": len(entries),
        "entries": entries,
    }


def in_short(
    two: Numbers, scores: Array, differences: Array, separable: Bools, ends: Array
) -> Numbers:
    """The comparisons to list of a long family, in its order.

    Among rows that are compared with one another: those of the lowest score with all others, and
    those of neighbours in the ranking. Of the whole family: the largest difference that is
    separable, and the interval that reaches furthest from zero.

    Args:
        two: numbers of each comparison's first and second row, [2, comparisons].
        scores: of the rows, [rows]; the lowest is the best.
        differences: of the comparisons.
        separable: their verdicts.
        ends: their simultaneous intervals, [comparisons, 2].
    """
    first, second = two
    joined = scipy.sparse.coo_array((np.ones(len(first)), (first, second)), [len(scores)] * 2)
    _, group = scipy.sparse.csgraph.connected_components(joined, directed=False)
    ranked = np.lexsort((scores, group))
    place = np.empty(len(scores), dtype=np.intp)
    place[ranked] = np.arange(len(scores))
    begins = np.concatenate([[True], group[ranked][1:] != group[ranked][:-1]])
    best = begins[place[first]] | begins[place[second]]
    listed = best | (np.abs(place[first] - place[second]) == 1)
    if separable.any():
        listed[np.argmax(np.where(separable, np.abs(differences), -1))] = True
    listed[np.argmax(np.abs(np.nan_to_num(ends)).max(axis=1))] = True
    return np.flatnonzero(listed)


def plain(value: Any) -> Any:
    """Convert a value for JSON: no NaN, and no digits that differ between machines."""
    if isinstance(value, dict):
        return {str(key): plain(its) for key, its in value.items()}
    if isinstance(value, Entries):
        return value
    if isinstance(value, list | tuple):
        return [plain(its) for its in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def write(path: Path, analysis: Entry) -> None:
    """Write sorted JSON, a comparison a line; equal values give equal bytes.

    Args:
        path: of analysis.json.
        analysis: what `plain` made.
    """
    with files.replacing(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as out:
        out.writelines(_pieces(analysis, "\n"))
        out.write("\n")


def _pieces(value: Any, start: str) -> Iterator[str]:
    """A value as JSON text, in pieces; `start` is a line feed with the value's indentation."""
    inner = f"{start} "
    if isinstance(value, dict) and any(map(_is_deep, value.values())):
        for nth, key in enumerate(sorted(value)):
            yield f"{',' if nth else '{'}{inner}{json.dumps(key)}: "
            yield from _pieces(value[key], inner)
        yield f"{start}}}"
    elif isinstance(value, list | Entries) and any(map(_is_deep, value[:1])):
        for nth, its in enumerate(value):
            yield f"{',' if nth else '['}{inner}"
            yield from [_line(its)] if isinstance(value, Entries) else _pieces(its, inner)
        yield f"{start}]"
    else:
        yield _line(list(value) if isinstance(value, Entries) else value)


def _line(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _is_deep(value: Any) -> bool:
    """Whether a value is more than a number, a text or a list of them."""
    return isinstance(value, dict | Entries) or (
        isinstance(value, list) and any(isinstance(its, dict | list) for its in value[:1])
    )
