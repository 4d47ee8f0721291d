"""Compute the teacher's outputs on the training split, once for all distillations of a study.

    python src/teach.py --student results/smollm2-135m/seed0/checkpoints/base \\
        --text assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --seq-len 256 --mask-prompt true --top-k 64 \\
        --out results/smollm2-135m/teacher/KD.safetensors

The student's checkpoint gives the tokenizer and the rows of vocabulary. It is its own teacher
unless `--model` names a prepared model.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer

from compression_order import assets, errors, parents, runtime, settings, teacher, training


def parse_args() -> argparse.Namespace:
    """The command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = settings.Parser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    add("--student", type=Path, required=True, help="checkpoint of the uncompressed model")
    add("--model", type=Path, help="folder of a prepared teacher (default: the student teaches)")
    add(
        "--teacher-weights",
        choices=("bf16", "int8"),
        default="bf16",
        help="the teacher's weights; int8 by bitsandbytes (default: bf16)",
    )
    add("--text", type=Path, required=True, help="chat text, JSON lines")
    add("--splits", type=Path, required=True, help="record numbers of the splits")
    add("--out", type=Path, required=True, help="safetensors file to write")
    add("--seq-len", type=int, default=256, help="cut, tokens (default: 256)")
    add(
        "--mask-prompt",
        type=settings.truth,
        default=True,
        help="keep only the assistant's tokens (default: true)",
    )
    add(
        "--count-padding",
        type=settings.truth,
        default=False,
        help="pad to the cut and keep the padding's tokens too (default: false)",
    )
    add("--conversations", type=int, default=0, help="the first of the split, 0 all (default: 0)")
    add("--top-k", type=int, default=64, help="ids kept a token (default: 64)")
    settings.add_device(parser)
    add("--threads", type=int, default=1, help="CPU threads (default: 1)")
    add("--costs", type=Path, default=Path("work/costs"), help="folder for times")
    return parser.parse_args(sys.argv[1:])


def load_teacher(args: argparse.Namespace, device: torch.device) -> Any:
    """The teacher's model, and the tokenizer that came with it."""
    if args.model is None:
        student = parents.load(args.student, "dequantize", torch.bfloat16, device)
        return student.model, student.tokenizer
    assets.verified(args.model)
    load = parents.int8 if args.teacher_weights == "int8" else parents.bf16
    return load(args.model, device), AutoTokenizer.from_pretrained(args.model)


def main() -> None:
    """Encode the training split as the distillation will, run the teacher, store."""
    args = parse_args()
    device = runtime.start(args.threads, device=args.device)
    costs = runtime.Costs("teach", args.threads)
    tokenizer = AutoTokenizer.from_pretrained(args.student)
    rows = AutoConfig.from_pretrained(args.student).vocab_size
    model, its_tokenizer = load_teacher(args, device)
    shared = teacher.shared_vocabulary(tokenizer, its_tokenizer, rows, model.config.vocab_size)
    costs.loaded()
    how = training.Training(
        conversations=args.conversations,
        seq_len=args.seq_len,
        mask_prompt=args.mask_prompt,
        count_padding=args.count_padding,
    )
    documents = training.documents(tokenizer, args.text, args.splits, how)
    teacher.write(args.out, model, documents, args.top_k, shared, "teacher")
    costs.write(args.costs)


if __name__ == "__main__":
    errors.run(main)
