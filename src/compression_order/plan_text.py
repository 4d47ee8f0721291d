"""A plan as the terminal shows it: the rows of plan.csv, shortened."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

MB, TERA = 1e6, 1e12
MEMORY = ("weights", "gradients", "optimizer", "teacher", "activations", "peak")
SHORT = ("weights", "grads", "optim", "teacher", "activ", "peak")
Row = Mapping[str, Any]


def aligned(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        right = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        return "  ".join([cells[0].ljust(widths[0]), *right]).rstrip()

    return "\n".join(map(line, [header, *lines]))


def short(value: float | str) -> str:
    """Two decimals, four below 1."""
    number = float(value)
    return f"{number:,.2f}" if number >= 1 else f"{number:.4f}"


def pipelines(table: Sequence[Row]) -> str:
    """Sizes of every checkpoint."""
    header = ("pipeline", "parameters", "bytes", "MiB", "ratio", "GMAC (1, 64)")
    stored = [row for row in table if "parameters" in row]
    keys = ("parameters", "bytes")
    return aligned(
        header,
        [
            (
                row["pipeline"],
                *(f"{row[k]:,}" for k in keys),
                row["mib"],
                row["compression_ratio"],
                f"{row['macs_1x64'] / 1e9:.2f}",
            )
            for row in stored
        ],
    )


def demanded(table: Sequence[Row]) -> str:
    """What one copy of every job takes; bytes in MB."""
    header = ("job", "copies", "tokens", "TFLOP", "hours", *SHORT, "read", "written")
    lines = []
    for row in (r for r in table if "peak_bytes" in r):
        taken = (f"{row[f'{key}_bytes'] / MB:,.0f}" for key in (*MEMORY, "read", "written"))
        work = short(row["flops"] / TERA), short(row["hours"])
        lines.append((row["job"], str(row["copies"]), f"{row['tokens']:,}", *work, *taken))
    return aligned(header, lines)


def parts(table: Sequence[Row]) -> str:
    """The evaluations, of the base."""
    own = [row for row in table if row.get("part") and row["job"] == "measure base"]
    lines = [(r["part"], f"{r['tokens']:,}", short(r["flops"] / TERA)) for r in own]
    return aligned(("evaluation of base", "tokens", "TFLOP"), lines)


def summed(table: Sequence[Row]) -> str:
    """The totals."""
    lines = [
        (row["job"], str(row["copies"]), short(row["flops"] / TERA), short(row["hours"]))
        for row in table
        if row["kind"] == "total"
    ]
    return aligned(("total", "jobs", "TFLOP", "hours"), lines)


def beside(table: Sequence[Row]) -> str:
    """Planned and measured, one line a job that has run, and their sum over the copies that have.

    Seconds are means of one copy; the planned ones are of computing alone, as is `work`.
    Ratios are planned over measured.
    """
    header = (
        *("planned and measured", "copies", "planned s", "work s", "ratio", "with start s"),
        *("planned MB", "peak MB", "ratio"),
    )
    ran = [row for row in table if "measured_s" in row]
    lines = []
    for row in ran:
        memory = (f"{row[key] / MB:,.0f}" for key in ("peak_bytes", "measured_peak_bytes"))
        time = short(_planned(row)), short(row["measured_work_s"]), row["time_ratio"]
        copies = f"{row['measured_copies']} of {row['copies']}"
        lines.append(
            (row["job"], copies, *time, short(row["measured_s"]), *memory, row["memory_ratio"])
        )
    sums = [
        sum(row["measured_copies"] * seconds(row) for row in ran)
        for seconds in (_planned, _seconds("measured_work_s"), _seconds("measured_s"))
    ]
    copies = sum(row["measured_copies"] for row in ran)
    every = sum(row["copies"] for row in table if "peak_bytes" in row)
    ratio = f"{sums[0] / sums[1]:.3g}" if sums[1] else ""
    planned, work, wall = map(short, sums)
    lines.append(("sum", f"{copies} of {every}", planned, work, ratio, wall, "", "", ""))
    return aligned(header, lines)


def _planned(row: Row) -> float:
    return float(row["hours"]) * 3600


def _seconds(key: str) -> Callable[[Row], float]:
    return lambda row: float(row[key])
