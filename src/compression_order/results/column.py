"""Cards: the definitions of the table's columns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from compression_order.common.writing import MISSING, show
from compression_order.results.cells import Change, Readings
from compression_order.results.published import Published
from compression_order.results.readings import Source

Value = float | int | str | None
PERCENT, POINTS = "%", "points"


@dataclass(frozen=True)
class Place:
    """Facts about a row that need no measurement.

    Attributes:
        pipeline: its name.
        arms: of the study that it belongs to.
        kinds: token -> kind of stage.
        figures: of the published study, if the study names one.
        stands_for: the published pipeline; None: another variant stands for it.
        note: ok, why the row is refused, or what a guard found.
    """

    pipeline: str
    arms: Sequence[str]
    kinds: Mapping[str, str]
    figures: Published | None
    stands_for: str | None
    note: str


@dataclass(frozen=True)
class Shown:
    """Display of a column in table.md and in the terminal.

    Attributes:
        title: its heading; `<text>` and the like are placeholders.
        digits: decimals; None for text.
        scale: factor by which a number is multiplied.
        within: whether table.md shows it in the cell of the column that its name begins with.
    """

    title: str
    digits: int | None = None
    scale: float = 1.0
    within: bool = False

    @property
    def terminal(self) -> str:
        """The heading as one word."""
        return self.title.replace(", ", "_").replace(" ", "_")

    def number(self, value: Value) -> str:
        """A cell of the table."""
        return show(value * self.scale if isinstance(value, int | float) else value, self.digits)

    def text(self, cell: str) -> str:
        """A cell as it is written in table.csv."""
        if cell == MISSING or self.digits is None:
            return cell
        return f"{float(cell) * self.scale:.{self.digits}f}"


@dataclass(frozen=True)
class Comparison:
    """Comparison of a row with its parent in changes.csv.

    Attributes:
        change_unit: percent of the parent, or percentage points.
        change: readings of the parent and of the row, one per seed -> both values and the change.
        in_percent: whether the values are in percent.
    """

    change_unit: str
    change: Callable[[Any, Any], Change]
    in_percent: bool = False


@dataclass(frozen=True)
class Card:
    """One column of table.csv.

    Attributes:
        name: in the first line of table.csv; `<text>`, `<task>` and `<judged>` stand for every
            text, question set and judged metric of the study.
        unit: empty for a plain number or text.
        digits: decimals in table.csv; None for text.
        meaning: for the list of columns.
        shown: how people see it; None: in table.csv alone.
        part: the text, question set or metric, once the name is written out.
    """

    ours: ClassVar[bool] = True  # whether the study's own files suffice to recompute it
    name: str
    unit: str
    digits: int | None
    meaning: str
    shown: Shown | None = None
    part: str = ""

    def written_out(self, family: str, part: str) -> Self:
        """The card of one text, question set or metric."""
        shown = self.shown
        if shown:
            shown = replace(shown, title=shown.title.replace(family, part))
        return replace(self, name=self.name.replace(family, part), part=part, shown=shown)


@dataclass(frozen=True)
class Told(Card):
    """A column that comes from no evaluation."""

    cell: Callable[[Place], Value] = lambda place: None


@dataclass(frozen=True)
class Remark(Told):
    """A told column that does not come from the study: published figures, and the notes."""

    ours: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class Scored(Card):
    """A column that is read from an evaluation file.

    Attributes:
        source: the file, and how its entry is read.
        cell: readings of the row and of base, one per seed -> the cell.
        guard: the check of results/checks.py that qualifies a reading.
        comparison: comparison of a row with its parent; None: not in changes.csv.
        spread: whether the column exists only with several seeds.
    """

    source: Source
    cell: Callable[[Any, Any], Value]
    guard: Callable[[str, Any], Iterator[str]] | None = None
    comparison: Comparison | None = None
    spread: bool = False

    @property
    def entry(self) -> str:
        """The entry of its source's readings from which it is made."""
        return self.part or self.source.key

    def of(self, ours: Readings, bases: Readings) -> Value:
        """The cell; None where the study did not measure it."""
        return self.cell(ours, bases) if all(ours) and all(bases) else None

    @property
    def compared_as(self) -> tuple[str, int | None, str]:
        """Unit and digits of the values in changes.csv, and the unit of the change."""
        if self.comparison is None:
            return self.unit, self.digits, ""
        if self.comparison.in_percent:  # in percent, two of the digits are before the point
            return PERCENT, (self.digits or 2) - 2, self.comparison.change_unit
        return self.unit, self.digits, self.comparison.change_unit
