"""Write tables, cells and lists the same way everywhere: CSV, Markdown and the terminal."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MISSING = "n/a"  # the mark of a cell that has no value; pandas reads it as NaN
MB, TERA, MIB = 1e6, 1e12, 2**20


def show(value: float | int | str | None, digits: int | None) -> str:
    """A cell as text: fixed decimals, no negative zero, `n/a` for what is not there."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, str):
        return value
    if not math.isfinite(value):
        return MISSING
    return f"{round(value, digits) + 0.0:.{digits}f}"


def csv_text(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """CSV with LF at the end of each line: equal cells give equal bytes."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return stream.getvalue()


def csv_of_rows(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """The same of rows by column; a cell that a row lacks is empty, an unknown column a fault."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def grid(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned source; the first row is the header."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def aligned(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table for the terminal: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        right = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        return "  ".join([cells[0].ljust(widths[0]), *right]).rstrip()

    return "\n".join(map(line, [header, *lines]))


def short(value: float | str) -> str:
    """A number with two decimals, with four below 1."""
    number = float(value)
    return f"{number:,.2f}" if number >= 1 else f"{number:.4f}"


def count(number: int, what: str) -> str:
    """`1 pair`, `3 pairs`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """`A, B and C`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))
