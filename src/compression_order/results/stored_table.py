"""Read a stored table.csv and compare it with the evaluations it was made from."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from compression_order.common.errors import HarnessError
from compression_order.common.writing import MISSING
from compression_order.results import cards, table
from compression_order.results.column import Card
from compression_order.results.table import Table

Cells = list[dict[str, str]]


def make_command(paths: Sequence[Path]) -> str:
    """The command that makes the table of a study, given as one file or several."""
    source = " ".join(map(str, paths))
    quoted = f'"{source}"' if " " in source else source
    return "make table" if source == "config.yaml" else f"make table STUDY={quoted}"


def read(path: Path, make: str = "make table") -> Cells:
    """Every row as text.

    Args:
        path: table.csv.
        make: the command that writes it, for messages.

    Raises:
        HarnessError: no such file, or it is no whole table.
    """
    lines = _split(path, make)
    fault = _damage(lines)
    if fault:
        raise HarnessError(f"{path}: {fault}; delete it and run `{make}`")
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def read_lines(path: Path, columns: Sequence[str], make: str) -> Cells:
    """Every line, as text, of a CSV file with exactly these columns.

    Raises:
        HarnessError: no such file, or it is not whole.
    """
    lines = _split(path, make)
    if len(lines) < 2 or any(len(line) != len(columns) or not all(line) for line in lines):
        raise HarnessError(f"{path} is not whole; delete it and run `{make}`")
    if lines[0] != list(columns):
        raise HarnessError(f"{path} does not have the columns {','.join(columns)}; run `{make}`")
    return [dict(zip(columns, line, strict=True)) for line in lines[1:]]


def _split(path: Path, make: str) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise HarnessError(f"{path} does not exist; run `{make}` first") from None
    except UnicodeDecodeError:
        raise HarnessError(f"{path} is not text; delete it and run `{make}`") from None
    return list(csv.reader(text.splitlines()))


def _damage(lines: Sequence[Sequence[str]]) -> str | None:
    """The fault in the form of a table, if any."""
    if len(lines) < 2:
        return "it has no rows"
    header = lines[0]
    if "pipeline" not in header or len(set(header)) < len(header):
        return "its first line does not name each column once, `pipeline` among them"
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header) or not all(line):
            return f"line {number} does not have {len(header)} cells"
    names = [line[header.index("pipeline")] for line in lines[1:]]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    return f"it has the row {twice[0]} twice" if twice else None


def require_rows(path: Path, cells: Cells, rows: Iterable[str], study: str, make: str) -> None:
    """Refuse a table whose rows are not those of the study.

    Raises:
        HarnessError: a row too many or too few.
    """
    expected, found = list(rows), [cell["pipeline"] for cell in cells]
    strange = [row for row in found if row not in expected]
    absent = [row for row in expected if row not in found]
    if strange or absent:
        what = f"has the row {strange[0]}" if strange else f"lacks the row {absent[0]}"
        other = "does not have" if strange else "has"
        raise HarnessError(
            f"{path} {what}, which the study {study} {other}: the table is of another study or of "
            f"an older version of this one; give its own table, or run `{make}`"
        )


def require_same(path: Path, cells: Cells, made: Table, results: Path, make: str) -> None:
    """Refuse a table that does not follow from the evaluations: another study's, old, or edited.

    Args:
        path: table.csv, for messages.
        cells: its rows.
        made: the table that the evaluations give.
        results: the folder of the evaluations, for messages.
        make: the command that makes the table.

    Raises:
        HarnessError: a measured column is absent or too many, or a cell differs.
    """
    measured = [column for column in made.columns if column.ours]
    names = [column.name for column in measured]
    absent = [name for name in names if name not in cells[0]]
    strange = [n for n in cells[0] if cards.is_of_texts_or_tasks(n) and n not in names]
    again = f"give the table of this study, or run `{make}`"
    if absent or strange:
        what = f"lacks the column {absent[0]}" if absent else f"has the column {strange[0]}"
        give = "give" if absent else "do not give"
        raise HarnessError(
            f"{path} {what}, which the evaluations in {results} {give}: the table is damaged or of "
            f"another study; {again}"
        )
    expected = {str(row["pipeline"]): row for row in made.rows}
    for cell in cells:
        for column in measured:
            ours = table.cell(column, expected[cell["pipeline"]])
            if not _agree(cell[column.name], ours, column):
                raise HarnessError(
                    f"{path}: {column.name} of {cell['pipeline']} is {cell[column.name]} but the "
                    f"evaluations in {results} give {ours}: the table is of another study, older "
                    f"than they are, or edited; {again}"
                )


def _agree(stored: str, ours: str, column: Card) -> bool:
    """Whether two cells are equal up to the last digit (machines round differently)."""
    if stored == ours or MISSING in (stored, ours) or column.digits is None:
        return stored == ours
    try:
        unit = 10.0**-column.digits
        return abs(float(stored) - float(ours)) <= 1.5 * unit
    except ValueError:
        return False
