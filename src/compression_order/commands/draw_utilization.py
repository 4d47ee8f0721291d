r"""Draw how busy the device was, and its memory, over the stages of each ordering.

    compression-order utilization --study config.yaml [--ordering P-KD-Q ...]

Joins the timelines that the processes of a run wrote, one sample per second
(results/<study>/seed<k>/costs/<pipeline>/*.utilization.csv). Shows the mean, the 90th and 95th
percentiles and the maximum over the samples with at least 10%. Writes
results/<study>/utilization.svg, or PNG or PDF if --out has that extension.
"""

import argparse
from pathlib import Path

from compression_order.common import declare, files
from compression_order.common.errors import HarnessError
from compression_order.costs import figure
from compression_order.planning import timelines
from compression_order.study import parse

ENDINGS = (".svg", ".png", ".pdf")


def add_flags(parser: declare.Parser) -> None:
    """The flags of the command."""
    declare.add_study(parser)
    parser.add_argument("--results", type=Path, help="folder of a run (default: results/<study>)")
    parser.add_argument("--out", type=Path, help="(default: utilization.svg in that folder)")
    parser.add_argument(
        "--ordering", action="append", help="one to draw, repeatable (default: the longest ones)"
    )


def run(args: argparse.Namespace) -> None:
    """Read and draw."""
    asked = parse.read(args.study, files.WORKFLOW)
    results = args.results or Path("results", asked.name)
    out = args.out or results / "utilization.svg"
    if out.suffix not in ENDINGS:
        raise HarnessError(f"--out: {out} ends in none of {', '.join(ENDINGS)}; choose one")
    names = timelines.chosen(asked, args.ordering)
    drawn = timelines.timelines(asked, names, results)
    with files.replacing(out) as aside:
        figure.draw(drawn, aside, out.suffix.removeprefix("."))
    print(figure.told(drawn))
    left = [name for name in names if name not in {its.name for its in drawn}]
    if left:
        print(f"Not drawn, for a stage without a timeline: {', '.join(left)}")
    print(f"Written: {out}")
