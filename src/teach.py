"""Compute the teacher's outputs on the training split, once for all distillations of a study.

    python src/teach.py --model results/smollm2-135m/seed0/checkpoints/base \\
        --text assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --seq-len 256 --mask-prompt true --top-k 64 \\
        --out results/smollm2-135m/teacher/KD.safetensors
"""

import argparse
import sys
from pathlib import Path

import torch

from compression_order import chat, errors, parents, runtime, settings, teacher


def parse_args() -> argparse.Namespace:
    """The command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = settings.Parser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--model", type=Path, required=True, help="checkpoint of the teacher")
    parser.add_argument("--text", type=Path, required=True, help="chat text, JSON lines")
    parser.add_argument("--splits", type=Path, required=True, help="record numbers of the splits")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--seq-len", type=int, default=256, help="cut, tokens (default: 256)")
    parser.add_argument(
        "--mask-prompt",
        choices=("true", "false"),
        default="true",
        help="keep only the assistant's tokens (default: true)",
    )
    parser.add_argument("--top-k", type=int, default=64, help="ids kept a token (default: 64)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--costs", type=Path, default=Path("work/costs"), help="folder for times")
    return parser.parse_args(sys.argv[1:])


def main() -> None:
    """Encode the training split as the distillation will, run the teacher, store."""
    args = parse_args()
    runtime.start(args.threads)
    costs = runtime.Costs("teach", args.threads)
    parent = parents.load(args.model, "dequantize", torch.bfloat16)
    costs.loaded()
    mask_prompt = args.mask_prompt == "true"
    records = chat.records(args.text, args.splits, "train")
    documents = chat.encode(parent.tokenizer, records, args.seq_len, mask_prompt)
    teacher.write(args.out, parent.model, documents, args.top_k, "teacher")
    costs.write(args.costs)


if __name__ == "__main__":
    errors.run(main)
