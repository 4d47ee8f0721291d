"""Choose a study's settings on its dev split, before any order is compared.

    compression-order tune --study studies/certainty.yaml

Writes the study that tries every point of the grids under `tuning`, to be run by Snakemake. When it
has run, called again: where the best point lies at an end of its grid, one more value is added and
the study written anew; else every trial and the choice go to a CSV file, and the study that tries
is deleted. `make tune` repeats both until the choice is made. The choice minimizes the mean loss a
token over the parents; no seed of the study uses the draw.
"""

import argparse
from pathlib import Path

import yaml

from compression_order.common import declare, files
from compression_order.study import parse, tuning
from compression_order.study.study import Study
from compression_order.study.tuning import Trials


def add_flags(parser: declare.Parser) -> None:
    """The flags of the command."""
    declare.add_study(parser)
    add = parser.add_argument
    add("--trials", type=Path, default=Path("work/tuning.yaml"), help="the study that tries")
    add("--csv", type=Path, help="every trial (default: studies/<study>.tuned.csv)")


def run(args: argparse.Namespace) -> None:
    """Write what is to be tried next, or what was chosen."""
    from compression_order.results import tuned

    source = " + ".join(map(str, args.study))
    asked = parse.read(args.study, files.WORKFLOW)
    wanted = tuning.required(asked, source)
    results, text = Path("results", f"{asked.name}-tuning"), asked.file.splits.text
    trials = [Trials.of(token, grid) for token, grid in wanted.grid.items()]
    found = []
    for place, its in enumerate(trials):
        scored = tuned.read(results, wanted.seed, text, its)
        while scored and (more := scored.trials.beyond(scored.chosen)):
            trials[place], scored = more, tuned.read(results, wanted.seed, text, more)
        found.append(scored)
    if not all(found):
        write(args.trials, asked, wanted, trials)
        return
    out = args.csv or Path("studies", f"{asked.name}.tuned.csv")
    chosen = [its for its in found if its]
    files.write_text(out, tuned.lines(chosen))
    args.trials.unlink(missing_ok=True)
    for one in chosen:
        print(f"{one.trials.token}: {tuned.told(one.chosen)} ({one.reason})")
    print(f"Written: {out}")


def write(path: Path, asked: Study, wanted: tuning.Tuning, trials: list[Trials]) -> None:
    """Write the study that tries."""
    made = tuning.study_of(asked, wanted, trials)
    parse.build(made, str(path), files.WORKFLOW)
    files.write_text(path, yaml.safe_dump(made, sort_keys=False))
    rows = sum(len(its.rows()) for its in trials)
    print(f"Written: {path}: {rows} pipelines to try")
