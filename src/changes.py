"""python src/changes.py --study config.yaml --metric ppl_wiki --metric size_mib

Print what each stage of a finished study changed, a grid a metric and arm: a line for each
sequence, a column for each stage that is added to it. Reads results/<study>/changes.csv, which
the workflow writes beside table.csv; measures nothing and writes nothing.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from compression_order import errors, orderings, settings, stored_table, study_file
from compression_order.changes import COLUMNS, PERCENT
from compression_order.errors import HarnessError
from compression_order.stored_table import Cells
from compression_order.study import Study
from compression_order.table import MISSING

ROOT = Path(__file__).resolve().parents[1]
NO_SUCH = "-"  # the study has no such pipeline
Stored = Mapping[tuple[str, str], Mapping[str, str]]  # (pipeline, metric) -> its line


def parse_args() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = settings.Parser(description=__doc__, formatter_class=formatter)
    settings.add_study(parser)
    parser.add_argument("--csv", type=Path, help="(default: results/<study>/changes.csv)")
    parser.add_argument(
        "--metric", action="append", default=[], help="only this one; may be given again"
    )
    return parser.parse_args(sys.argv[1:])


def main() -> None:
    args = parse_args()
    asked = study_file.read(args.study, ROOT)
    path = args.csv or Path("results", asked.name, "changes.csv")
    lines = stored_table.read_lines(path, COLUMNS, make_command(args.study))
    stored = {(line["pipeline"], line["metric"]): line for line in lines}
    require_study(path, stored, asked, make_command(args.study))
    for metric in chosen(path, lines, args.metric):
        for arm, rows in (asked.plan.arms or {"": asked.plan.rows}).items():
            print("\n".join(["", title(asked, stored, metric, arm, rows), ""]))
            print(aligned(grid(stored, metric, rows, list(asked.stages))))
    print("\n".join(["", *reasons(lines)]))


def make_command(paths: Sequence[Path]) -> str:
    """What makes the file that is read."""
    source = " ".join(map(str, paths))
    quoted = f'"{source}"' if " " in source else source
    return "make table" if source == "config.yaml" else f"make table STUDY={quoted}"


def require_study(path: Path, stored: Stored, asked: Study, make: str) -> None:
    """Refuse changes that are not those of the study's pipelines.

    Raises:
        HarnessError: a pipeline too many or too few.
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
    """What one grid shows, and where it starts from."""
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

    Variants stand under the stage that they are a variant of, where that leaves one a cell.
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


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns of equal width: sequences to the left, numbers to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    )


def reasons(lines: Cells) -> Iterator[str]:
    """Why a cell is n/a, once a pipeline."""
    yield f"n/a: no such number; {NO_SUCH}: the study has no such pipeline."
    notes = {f"{line['pipeline']}: {line['note']}" for line in lines if line["note"] != "ok"}
    yield from sorted(notes)


if __name__ == "__main__":
    errors.run(main)
