"""Coefficients of contrasts between rows: pure Python, for plans too."""

from collections.abc import Mapping, Sequence

Coefficients = Mapping[str, float]  # row -> c_r; they sum to zero


def pair(first: str, second: str) -> dict[str, float]:
    """The contrast of the first row over the second."""
    return {first: 1.0, second: -1.0}


def geometric(over: Sequence[Sequence[str]], under: Sequence[Sequence[str]]) -> dict[str, float]:
    """The contrast of a product of geometric means over another one.

    Args:
        over: groups of rows; the product of the groups' geometric mean perplexities stands above.
        under: as many groups.
    """
    found: dict[str, float] = {}
    for sign, groups in ((1.0, over), (-1.0, under)):
        for group in groups:
            for row in group:
                found[row] = found.get(row, 0.0) + sign / len(group)
    return found


def less(one: Coefficients, other: Coefficients) -> dict[str, float]:
    """The difference of two contrasts, which is the ratio of their ratios."""
    rows = dict.fromkeys([*one, *other])
    return {row: one.get(row, 0.0) - other.get(row, 0.0) for row in rows}
