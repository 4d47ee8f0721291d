"""Format numbers for findings.md to the precision of their interval."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from compression_order.common.writing import count

Entry = Mapping[str, Any]
Line = TypeVar("Line")
LINES = 100  # of a table; a longer one is for programs
NO_INTERVAL = "no interval (one unit)"


def times(value: float) -> str:
    """Format a factor with enough digits to differ from one."""
    if not 0.01 < value < 1000:
        return f"{value:.3g}"
    digits = 3 if value == 1 or abs(value - 1) >= 5e-4 else 4 if abs(value - 1) >= 5e-5 else 6
    return f"{value:.{digits}f}"


def between(interval: Sequence[float | None]) -> str:
    """`0.912 to 0.987`."""
    low, high = interval
    return NO_INTERVAL if low is None or high is None else f"{times(low)} to {times(high)}"


def verdict(entry: Entry) -> str:
    """Separable; equal, where the interval lies within the bound; or neither."""
    if entry["separable"]:
        seeds = "" if entry.get("certain") in (None, True) else ", seeds disagree"
        return f"separable{seeds}"
    return "equal" if entry.get("equal") else "not separable"


def factor(entry: Entry) -> str:
    """`1.070 (1.012 to 1.131), separable`: the simultaneous interval."""
    return f"{times(entry['ratio'])} ({between(entry['simultaneous'])}), {verdict(entry)}"


def turned(entry: Entry) -> dict[str, Any]:
    """The same pair the other way round."""
    ends = entry["simultaneous"]
    low, high = (None if end is None else 1 / end for end in reversed(ends))
    return {
        **entry,
        "first": entry["second"],
        "second": entry["first"],
        "ratio": 1 / entry["ratio"],
        "log_ratio": -entry["log_ratio"],
        "simultaneous": [low, high],
    }


def upwards(entry: Entry) -> Entry:
    """The pair with the higher perplexity first."""
    return entry if entry["log_ratio"] >= 0 else turned(entry)


def share_separable(family: Entry, what: str = "pair") -> str:
    """`3 of 15 pairs are separable`."""
    are = "is" if family["comparisons"] == 1 else "are"
    return f"{family['separable']} of {count(family['comparisons'], what)} {are} separable"


def needed(number: int | None, what: str) -> str:
    """Format a number of units, or say that none is enough."""
    return f"more than any {what}" if number is None else f"{number:,}"


def longest(lines: Sequence[Line], size: Callable[[Line], float]) -> tuple[list[Line], str]:
    """The lines of a table that a page can hold: the largest, in their order, and a remark.

    Args:
        lines: all of them.
        size: of a line.

    Returns:
        All lines and no remark where they are few.
    """
    if len(lines) <= LINES:
        return list(lines), ""
    largest = sorted(range(len(lines)), key=lambda nth: -size(lines[nth]))[:LINES]
    kept = [lines[nth] for nth in sorted(largest)]
    return kept, f" (the {LINES} largest; `analysis.json` has more)"


def effect(entry: Entry) -> float:
    """How far a ratio is from a tie, either way."""
    return abs(float(entry["log_ratio"]))
