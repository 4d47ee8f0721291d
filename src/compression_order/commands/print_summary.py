r"""Print a finished study's results: the table, three lines of findings and one line of cost.

    compression-order summary --study smoke --results results/smoke \
        --table results/smoke/table.csv --seeds 0 --published arxiv-2511.19495

Reads table.csv and the evaluations behind it; writes nothing.
"""

import argparse
from pathlib import Path

from compression_order.common import declare, files


def add_flags(parser: declare.Parser) -> None:
    """The flags of the command."""
    add = parser.add_argument
    add("--study", required=True, help="name of the study, for the heading")
    add("--results", required=True, type=Path, help="folder results/<study>")
    add("--table", required=True, type=Path, help="table.csv of the study")
    add("--seeds", required=True, nargs="+", type=int, help="seeds that were run")
    add("--published", help="study in the published figures (default: none)")
    add("--published-csv", type=Path, default=files.WORKFLOW / "published/published.csv")


def run(args: argparse.Namespace) -> None:
    """Read and show."""
    from compression_order.results import guards, published, summary

    cells = summary.read_table(args.table)
    available = cells[~cells["note"].str.startswith("refused")]["pipeline"]
    records = guards.load(args.results, list(available), args.seeds)
    figures = published.read(args.published_csv, args.published) if args.published else None
    print(*summary.told(args.study, cells, records, figures, args.results), sep="\n")
