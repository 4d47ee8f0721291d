"""The comparison table of a study: its rows, cell by cell as the cards say.

Missing values are `n/a` (pandas reads NaN); the column `note` names suspicious results.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compression_order import orderings
from compression_order.common.errors import HarnessError
from compression_order.common.writing import MISSING, csv_text, show
from compression_order.results import cards, guards
from compression_order.results.column import Card, Place, Scored, Told, Value
from compression_order.results.published import Published
from compression_order.results.records import Record

Row = dict[str, Value]


@dataclass(frozen=True)
class Table:
    """Columns and rows of one study; cells are raw values, None where there is none."""

    columns: tuple[Card, ...]
    rows: tuple[Row, ...]

    @property
    def filled(self) -> list[Card]:
        """The columns that are not n/a in every row."""
        return [c for c in self.columns if any(cell(c, row) != MISSING for row in self.rows)]


def cell(column: Card, row: Row) -> str:
    """A cell as table.csv has it."""
    return show(row.get(column.name), column.digits)


def build(
    rows: Sequence[str],
    records: guards.Records,
    refused: Mapping[str, str],
    published: Published | None,
    kinds: Mapping[str, str],
    arms: Mapping[str, Sequence[str]] | None = None,
) -> Table:
    """One row per pipeline, in the order given; refused pipelines have no records.

    Args:
        rows: the pipelines.
        records: of every pipeline that is not refused.
        refused: pipeline -> why it cannot exist.
        published: usable figures of the published study, if the study names one.
        kinds: token -> kind of stage.
        arms: arm -> its pipelines, where the study has arms.
    """
    bases = records[orderings.BASE]
    notes = {row: "; ".join(found) or "ok" for row, found in guards.findings(records).items()}
    notes |= {row: f"refused: {why}" for row, why in refused.items()}
    written = cards.columns(cards.parts_of(bases[0].readings), len(bases) > 1)
    columns = tuple(column for column in written if arms or column.name != "arm")
    made = []
    for pipeline in rows:
        its_arms = [arm for arm, its in (arms or {}).items() if pipeline in its]
        stands_for = orderings.stands_for(pipeline, rows, arms or {})
        place = Place(pipeline, its_arms, kinds, published, stands_for, notes[pipeline])
        made.append(_row(columns, place, () if pipeline in refused else records[pipeline], bases))
    return Table(columns, tuple(made))


def _row(
    columns: Sequence[Card], place: Place, ours: Sequence[Record], bases: Sequence[Record]
) -> Row:
    """The cells of one pipeline, each seed paired with base at the same seed."""
    row: Row = {}
    for column in columns:
        if isinstance(column, Told):
            row[column.name] = column.cell(place)
        elif isinstance(column, Scored) and ours:
            row[column.name] = column.of(_readings(column, ours), _readings(column, bases))
    return row


def _readings(column: Scored, records: Sequence[Record]) -> list[object]:
    return [record.reading(column.source, column.entry) for record in records]


def to_csv(table: Table) -> str:
    """The table as CSV with fixed decimals and LF: equal tables give equal bytes."""
    header = [column.name for column in table.columns]
    return csv_text(header, ([cell(c, row) for c in table.columns] for row in table.rows))


def require_known(rows: Sequence[str], seeds: Sequence[int], refused: Mapping[str, str]) -> None:
    """Refuse a request that does not describe one table."""
    for flag, values in (("--rows", rows), ("--seeds", seeds)):
        if len(set(values)) < len(values):
            said = " ".join(str(value) for value in values)
            raise HarnessError(f"{flag} {said} names one of them twice; name each once")
    for pipeline in refused:
        if pipeline not in rows or pipeline == orderings.BASE:
            raise HarnessError(
                f"--refused {pipeline!r} is not a row that can be refused; "
                f"use one of {', '.join(r for r in rows if r != orderings.BASE)}"
            )
