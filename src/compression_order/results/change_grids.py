"""Print the changes by stage as grids: one line per sequence, one column per added stage."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from compression_order import orderings
from compression_order.common.errors import HarnessError
from compression_order.common.writing import MISSING
from compression_order.results.column import PERCENT
from compression_order.results.stored_table import Cells
from compression_order.study.study import Study

NO_SUCH = "-"  # the study has no such pipeline
Stored = Mapping[tuple[str, str], Mapping[str, str]]  # (pipeline, metric) -> its line


def require_study(path: Path, stored: Stored, asked: Study, make: str) -> None:
    """Refuse changes that are not those of the study's pipelines.

    Raises:
        HarnessError: a pipeline is missing or superfluous.
    """
    found = {pipeline for pipeline, _ in stored}
    differing = sorted(found ^ set(asked.plan.rows[1:]))
    if differing:
        raise HarnessError(
            f"{path} and the study {asked.name} do not have the same pipelines ({differing[0]} is "
            f"in only one of them); run `{make}`"
        )


def chosen(path: Path, lines: Cells, asked: Sequence[str]) -> list[str]:
    """The metrics to print, in the order of the file.

    Raises:
        HarnessError: one is not there.
    """
    known = list(dict.fromkeys(line["metric"] for line in lines))
    for metric in asked:
        if metric not in known:
            raise HarnessError(f"--metric: {path} has no {metric!r}; use one of {', '.join(known)}")
    return [metric for metric in known if not asked or metric in asked]


def title(asked: Study, stored: Stored, metric: str, arm: str, rows: Sequence[str]) -> str:
    """The title of one grid: its metric, and the value of base."""
    first = stored[rows[1], metric]
    unit = "percent" if first["change_unit"] == PERCENT else "percentage points"
    told = "" if first["unit"] == "1" else f" {first['unit']}"
    start = next((stored[row, metric]["before_value"] for row in rows[1:]
                  if orderings.parent(row) == orderings.BASE
                  and stored[row, metric]["before_value"] != MISSING), MISSING)  # fmt: skip
    where = f", arm {arm}" if arm else ""
    return f"{asked.name}{where}: {metric}, change in {unit}; base {start}{told}"


def grid(
    stored: Stored, metric: str, rows: Sequence[str], tokens: Sequence[str]
) -> list[list[str]]:
    """A header, and a line for each sequence that a stage is added to.

    A variant shares the column of its stage if each cell then has one entry.
    """
    shown = {orderings.plain(row): row for row in rows}
    if len(shown) < len(rows):
        shown = {row: row for row in rows}
    added = [orderings.last(name) for name in list(shown)[1:]]
    known = dict.fromkeys(name for token in tokens for name in (orderings.stem(token), token))
    columns = [name for name in known if name in added]
    before = {orderings.parent(name) for name in list(shown)[1:]}
    lines = [
        [name, *(cell(stored, metric, shown, name, token) for token in columns)]
        for name in shown
        if name in before
    ]
    return [["before", *(f"+ {token}" for token in columns)], *lines]


def cell(stored: Stored, metric: str, shown: Mapping[str, str], sequence: str, token: str) -> str:
    """The change with its standard error, where it has one."""
    pipeline = shown.get(orderings.join([*orderings.split(sequence), token]))
    if pipeline is None:
        return NO_SUCH
    line = stored[pipeline, metric]
    if line["change"] == MISSING:
        return MISSING
    told = f"{float(line['change']):+.1f}"
    return told if line["change_se"] == MISSING else f"{told} ± {float(line['change_se']):.1f}"


def reasons(lines: Cells) -> Iterator[str]:
    """Reasons for cells that are n/a, one per pipeline."""
    yield f"n/a: no such number; {NO_SUCH}: the study has no such pipeline."
    notes = {f"{line['pipeline']}: {line['note']}" for line in lines if line["note"] != "ok"}
    yield from sorted(notes)
