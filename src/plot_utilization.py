"""python src/plot_utilization.py --study config.yaml [--ordering P-KD-Q ...]

Draw how busy the device was, and its memory, over the stages of each ordering: the timelines that
the processes of a run wrote (results/<study>/seed<k>/costs/<pipeline>/*.utilization.csv, a sample
a second) one after another, with mean, 90th and 95th percentile and maximum over the samples with
at least 10%. Writes results/<study>/utilization.svg, or PNG or PDF by the ending of --out.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from compression_order import (
    errors,
    files,
    measured,
    orderings,
    settings,
    study_file,
    utilization_figure,
)
from compression_order.errors import HarnessError
from compression_order.study import Study
from compression_order.utilization_figure import Timeline

ROOT = Path(__file__).resolve().parents[1]
ENDINGS = (".svg", ".png", ".pdf")


def parse_args() -> argparse.Namespace:
    """The command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = settings.Parser(description=__doc__, formatter_class=formatter)
    settings.add_study(parser)
    parser.add_argument("--results", type=Path, help="folder of a run (default: results/<study>)")
    parser.add_argument("--out", type=Path, help="(default: utilization.svg in that folder)")
    parser.add_argument(
        "--ordering", action="append", help="one to draw; repeat it (default: the longest ones)"
    )
    return parser.parse_args(sys.argv[1:])


def chosen(asked: Study, named: Sequence[str] | None) -> list[str]:
    """The orderings to draw: those named, else those with the most stages.

    Raises:
        HarnessError: the study does not run one that is named.
    """
    runs = [node for node in asked.plan.nodes if orderings.split(node)]
    for name in named or ():
        if name not in runs:
            raise HarnessError(
                f"--ordering: {name!r} is not run by {asked.name}; use one of {', '.join(runs)}"
            )
    most = max((len(orderings.split(node)) for node in runs), default=0)
    return list(named or (node for node in runs if len(orderings.split(node)) == most))


def timelines(asked: Study, names: Sequence[str], results: Path) -> list[Timeline]:
    """Of each ordering whose stages all left a timeline: these, of the first seed that has all.

    Raises:
        HarnessError: none has, or a file is damaged.
    """
    found = []
    for name in names:
        for seed in asked.seeds:
            paths = {
                stage: measured.timeline(
                    results / f"seed{seed}", stage, asked.stages[orderings.last(stage)].kind
                )
                for stage in orderings.prefixes(name)
            }
            if all(path.is_file() for path in paths.values()):
                found.append(utilization_figure.read(name, paths))
                break
    if not found:
        raise HarnessError(
            f"{results} has no timelines of all stages of {', '.join(names)}; run the study first"
        )
    return found


def main() -> None:
    """Read and draw."""
    args = parse_args()
    asked = study_file.read(args.study, ROOT)
    results = args.results or Path("results", asked.name)
    out = args.out or results / "utilization.svg"
    if out.suffix not in ENDINGS:
        raise HarnessError(f"--out: {out} ends in none of {', '.join(ENDINGS)}; choose one")
    names = chosen(asked, args.ordering)
    drawn = timelines(asked, names, results)
    with files.replacing(out) as aside:
        utilization_figure.draw(drawn, aside, out.suffix.removeprefix("."))
    print(utilization_figure.told(drawn))
    left = [name for name in names if name not in {its.name for its in drawn}]
    if left:
        print(f"Not drawn, for a stage without a timeline: {', '.join(left)}")
    print(f"Written: {out}")


if __name__ == "__main__":
    errors.run(main)
