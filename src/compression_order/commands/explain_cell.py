r"""Trace one cell of a finished study's table back to the uncompressed model.

    compression-order why --study config.yaml P-KD-Q ppl_chat

Prints the value, its formula, the evaluation file, the hash of the scored sample and the findings
of the guards. Then prints the manifests from this checkpoint back to base: each with its method,
non-default settings, parent and weights. Reads results/<study>/ of a run or of
`compression-order record --unpack`; needs no weights.
"""

import argparse
from pathlib import Path

from compression_order.common import declare, files
from compression_order.common.errors import HarnessError
from compression_order.study import parse


def add_flags(parser: declare.Parser) -> None:
    """The flags of the command."""
    add = parser.add_argument
    # optional for argparse, because --study takes every word that follows it
    add("row", metavar="ROW", nargs="?", help="a row of the table, such as P-KD-Q")
    add("column", metavar="COLUMN", nargs="?", help="a column of table.csv, such as kl")
    declare.add_study(parser)
    add("--seed", type=int, help="only this seed (default: files of all, checkpoints of the first)")
    add("--results", type=Path, help="folder of the results (default: results/<study>)")
    add("--markdown", type=Path, help="Markdown file to write the same text to (default: none)")


def words(args: argparse.Namespace) -> tuple[list[Path], str, str]:
    """The study's files, row and column, wherever row and column stand.

    Raises:
        HarnessError: row or column is missing.
    """
    paths = list(args.study)
    cell = [word for word in (args.row, args.column) if word]
    while len(cell) < 2 and len(paths) > 1 and not _is_study(paths[-1]):
        cell.insert(0, str(paths.pop()))
    if len(cell) < 2:
        raise HarnessError(
            "why needs a row and a column, such as: compression-order why --study config.yaml "
            "P-KD-Q kl"
        )
    return paths, cell[0], cell[1]


def _is_study(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml") or path.is_file()


def run(args: argparse.Namespace) -> None:
    """Find the cell, show its origin and write the page."""
    from compression_order.results import explanation, stored_table

    paths, row, column = words(args)
    asked, make = parse.read(paths, files.WORKFLOW), stored_table.make_command(paths)
    results = args.results or Path("results", asked.name)
    told = list(
        explanation.sections(explanation.find(asked, results, row, column, args.seed, make))
    )
    if args.markdown:
        files.write_text(args.markdown, explanation.markdown(told))
    print(*explanation.terminal(told), sep="\n")
    if args.markdown:
        print(f"\nWritten: {args.markdown}")
