r"""Sum the costs of making a study's checkpoints.

    compression-order costs --study config.yaml

Lists the seconds, memory and device utilization that the processes recorded under
results/<study>/**/costs/, beside the planned tokens, operations and bytes. Has one line per job,
and sums along each ordering with and without the work that orderings share. Writes
results/<study>/costs.csv and prints it; measures nothing.
"""

import argparse
from pathlib import Path

from compression_order.architecture.demands import Assumed
from compression_order.common import declare, files
from compression_order.common.errors import HarnessError
from compression_order.common.writing import csv_of_rows
from compression_order.planning import graph, measured, spent, totals
from compression_order.results.stored_table import make_command
from compression_order.study import parse


def add_flags(parser: declare.Parser) -> None:
    """The flags of the command."""
    declare.add_study(parser)
    parser.add_argument("--results", type=Path, help="folder of a run (default: results/<study>)")
    parser.add_argument("--csv", type=Path, help="(default: costs.csv in that folder)")
    declare.add_flags(parser, Assumed, "what the data decide, for planned tokens")


def run(args: argparse.Namespace) -> None:
    """Read, sum, write, show."""
    assumed = declare.read(Assumed, vars(args))
    asked = parse.read(args.study, files.WORKFLOW)
    results = args.results or Path("results", asked.name)
    planned = graph.jobs(asked, graph.architecture(asked), assumed, files.WORKFLOW)
    took = measured.of(planned, asked.seeds, results)
    if not took:
        make = make_command(args.study)
        raise HarnessError(f"{results} has no cost records of this study; run `{make}` first")
    table = list(spent.rows(planned, took, totals.of(asked, planned, took)))
    out = args.csv or results / "costs.csv"
    files.write_text(out, csv_of_rows(spent.COLUMNS, table))
    print(spent.told(table))
    length = f"of {assumed.conversation} tokens" if assumed.conversation else "as long as their cut"
    print(f"""
Tokens, operations and bytes written are planned, for conversations {length}; the rest is measured.
busy: percent of the GPU, or on a CPU of the job's cores, over the seconds with at least 10%.
Written: {out}""")
