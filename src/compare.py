"""How far two checkpoints are apart: KL divergence of their outputs on the held-out conversations.

    python src/compare.py --first results/smollm2-135m/seed0/checkpoints/P-Q \\
        --second results/smollm2-135m/seed0/checkpoints/Q-P \\
        --text assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --out results/smollm2-135m/seed0/commutators/P-Q~Q-P.json

`make commutators` runs it for every two pipelines that differ by a swap of two neighbouring stages.
"""

import argparse
import sys
from pathlib import Path

import torch

from compression_order import commutator, errors, files, parents, runtime, scoring, settings


def parse_args() -> argparse.Namespace:
    """The command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = settings.Parser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--first", type=Path, required=True, help="folder of a checkpoint")
    parser.add_argument("--second", type=Path, required=True, help="folder of the other")
    parser.add_argument("--text", type=Path, required=True, help="chat text, JSON lines")
    parser.add_argument("--splits", type=Path, required=True, help="record numbers of the splits")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument(
        "--score-opening",
        type=settings.truth,
        default=False,
        help="compare on the opening that all conversations share too (default: false)",
    )
    settings.add_device(parser)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--costs", type=Path, default=Path("work/costs"), help="folder for times")
    return parser.parse_args(sys.argv[1:])


def outputs(folder: Path, args: argparse.Namespace, device: torch.device) -> scoring.Reference:
    """What a checkpoint says of the held-out conversations; its weights are let go again."""
    parent = parents.load(folder, "adapter", torch.bfloat16, device)
    sample = scoring.documents(parent.tokenizer, args.text, args.splits, args.score_opening)
    return scoring.reference(parent.model, sample).to(device)


def main() -> None:
    """Run both, compare, write."""
    args = parse_args()
    device = runtime.start(args.threads, device=args.device)
    costs = runtime.Costs("compare", args.threads)
    names = {"first": args.first.name, "second": args.second.name}
    label = f"{names['first']} and {names['second']}"
    runtime.log.info("[%s] reading the held-out conversations", label)
    first, second = (outputs(folder, args, device) for folder in (args.first, args.second))
    progress = runtime.Progress(label, "conversation", len(first.states))
    found = []
    for its in commutator.apart(first, second):
        found.append(its)
        progress.update(len(found))
    with files.replacing(args.out) as aside:
        files.write_json(aside, commutator.record(names, first.digest, found))
    costs.write(args.costs)


if __name__ == "__main__":
    errors.run(main)
