r"""Print what each stage of a finished study changed.

    compression-order changes --study config.yaml --metric ppl_wiki --metric size_mib

Prints one grid per metric and arm: one line per sequence, one column per stage added to it.
Reads results/<study>/changes.csv, which the workflow writes beside table.csv; measures nothing
and writes nothing.
"""

import argparse
from pathlib import Path

from compression_order.common import declare, files
from compression_order.common.writing import aligned
from compression_order.results import change_grids, stored_table
from compression_order.results.changes import COLUMNS
from compression_order.study import parse


def add_flags(parser: declare.Parser) -> None:
    """The flags of the command."""
    declare.add_study(parser)
    parser.add_argument("--csv", type=Path, help="(default: results/<study>/changes.csv)")
    parser.add_argument(
        "--metric", action="append", default=[], help="metric to print, repeatable (default: all)"
    )


def run(args: argparse.Namespace) -> None:
    """Read and show."""
    asked, make = parse.read(args.study, files.WORKFLOW), stored_table.make_command(args.study)
    path = args.csv or Path("results", asked.name, "changes.csv")
    lines = stored_table.read_lines(path, COLUMNS, make)
    stored = {(line["pipeline"], line["metric"]): line for line in lines}
    change_grids.require_study(path, stored, asked, make)
    for metric in change_grids.chosen(path, lines, args.metric):
        for arm, rows in (asked.plan.arms or {"": asked.plan.rows}).items():
            print("", change_grids.title(asked, stored, metric, arm, rows), "", sep="\n")
            header, *grid = change_grids.grid(stored, metric, rows, list(asked.stages))
            print(aligned(header, grid))
    print("", *change_grids.reasons(lines), sep="\n")
