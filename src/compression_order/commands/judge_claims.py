r"""Compare a finished study with the published study that it names.

    compression-order verdict --study config.yaml

Gives each published claim a verdict: reproduced, not reproduced or not testable here, with the
numbers and their uncertainty. Reads table.csv and the evaluations behind it, arm by arm; writes
verdict.csv and verdict.md.

Compares only published figures that can be trusted (published/README.md). The 95% intervals come
from a bootstrap over our documents, windows or questions, with the same draws for every pipeline.
Published figures come from single runs and have no interval.
"""

import argparse
from pathlib import Path

from compression_order.common import declare, files
from compression_order.study import parse
from compression_order.study.study import PUBLISHED


def add_flags(parser: declare.Parser) -> None:
    """The flags of the command."""
    add = parser.add_argument
    declare.add_study(parser)
    add("--table", type=Path, help="table.csv (default: results/<study>/table.csv)")
    add("--results", type=Path, help="folder of the evaluations (default: results/<study>)")
    add("--published-csv", type=Path, default=files.WORKFLOW / PUBLISHED)
    add("--csv", type=Path, help="(default: verdict.csv in the folder of the evaluations)")
    add("--markdown", type=Path, help="(default: verdict.md there)")


def run(args: argparse.Namespace) -> None:
    """Judge, write, show."""
    from compression_order.results import reproduction, stored_table, verdict_page

    asked = parse.read(args.study, files.WORKFLOW)
    results = args.results or Path("results", asked.name)
    table, make = args.table or results / "table.csv", stored_table.make_command(args.study)
    source = " ".join(map(str, args.study))
    found = reproduction.report(asked, source, table, results, args.published_csv, make)
    files.write_text(args.csv or results / "verdict.csv", verdict_page.to_csv(found))
    files.write_text(args.markdown or results / "verdict.md", verdict_page.markdown(found))
    print(*verdict_page.terminal(found), sep="\n")
