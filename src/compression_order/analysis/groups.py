"""Which rows are orders of the same stages. Pure Python: plans ask too."""

from collections.abc import Sequence
from dataclasses import dataclass

from compression_order import orderings


def same_stages(row: str, rows: Sequence[str]) -> list[str]:
    """The orders of the stages of a row, itself among them."""
    stages = sorted(orderings.split(row))
    return [other for other in rows if sorted(orderings.split(other)) == stages]


@dataclass(frozen=True)
class Orders:
    """Rows that are orders of the same stages.

    Attributes:
        stages: the tokens, in the order of the first row.
        rows: the orders, as in the study.
    """

    stages: tuple[str, ...]
    rows: tuple[str, ...]

    @property
    def title(self) -> str:
        """`orders of P, KD, Q`."""
        return f"orders of {', '.join(self.stages)}"


def full_orders(rows: Sequence[str]) -> list[Orders]:
    """Orders at full compression: no other stages with several orders hold theirs and more."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        groups.setdefault(tuple(sorted(orderings.split(row))), []).append(row)
    several = [stages for stages, its in groups.items() if len(its) > 1]
    return [
        Orders(orderings.split(groups[stages][0]), tuple(groups[stages]))
        for stages in several
        if not any(_holds_more(other, stages) for other in several)
    ]


def _holds_more(other: Sequence[str], stages: Sequence[str]) -> bool:
    return len(other) > len(stages) and all(other.count(s) >= stages.count(s) for s in stages)
