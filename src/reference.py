"""Run the base model over the fidelity text, once for all checkpoints of a study.

    python src/reference.py --model results/smollm2-135m/seed0/checkpoints/base \\
        --text assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --out results/smollm2-135m/teacher/reference.safetensors
"""

import argparse
import sys
from pathlib import Path

import torch

from compression_order import errors, parents, runtime, scoring, settings


def parse_args() -> argparse.Namespace:
    """The command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = settings.Parser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint of the base model")
    parser.add_argument("--text", type=Path, required=True, help="chat text, JSON lines")
    parser.add_argument("--splits", type=Path, required=True, help="record numbers of the splits")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument(
        "--score-opening",
        type=settings.truth,
        default=False,
        help="score the opening that all conversations share (default: false)",
    )
    settings.add_device(parser)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--costs", type=Path, default=Path("work/costs"), help="folder for times")
    return parser.parse_args(sys.argv[1:])


def main() -> None:
    """Keep the base's hidden states on the held-out conversations."""
    args = parse_args()
    device = runtime.start(args.threads, device=args.device)
    costs = runtime.Costs("reference", args.threads)
    parent = parents.load(args.model, "dequantize", torch.bfloat16, device)
    costs.loaded()
    sample = scoring.documents(parent.tokenizer, args.text, args.splits, args.score_opening)
    scoring.reference(parent.model, sample).write(args.out)
    costs.write(args.costs)


if __name__ == "__main__":
    errors.run(main)
