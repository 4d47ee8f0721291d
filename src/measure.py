"""Evaluate one checkpoint: perplexity, fidelity to the base, question sets, size.

One process does all of it: importing the libraries and loading the model take longer than
some of the scores.

    python src/measure.py --checkpoint results/smollm2-135m/seed0/checkpoints/P \\
        --windows assets/text/wiki.jsonl --windows assets/text/c4.jsonl \\
        --seq-len 512 --max-tokens 8192 \\
        --documents assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --reference results/smollm2-135m/teacher/reference.safetensors \\
        --tasks tasks/openbookqa.yaml:150 --tasks tasks/boolq.yaml:80 \\
        --out results/smollm2-135m/seed0/evaluations/P
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from compression_order import errors, files, parents, questions, runtime, scoring, settings


def parse_args() -> argparse.Namespace:
    """The command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = settings.Parser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="folder of the checkpoint")
    add("--out", type=Path, required=True, help="folder for the JSON files")
    add("--windows", type=Path, action="append", default=[], help="a text for windows perplexity")
    add("--seq-len", type=int, default=512, help="window, tokens (default: 512)")
    add("--max-tokens", type=int, default=8192, help="tokens scored a text, 0 all (default: 8192)")
    add("--documents", type=Path, required=True, help="chat text, for its held-out split")
    add("--splits", type=Path, required=True, help="record numbers of the splits")
    add("--reference", type=Path, required=True, help="the base's outputs on that split")
    add(
        "--tasks", action="append", default=[], help="task file, a colon, and its questions, 0: all"
    )
    add("--batch-size", type=int, default=8, help="questions a batch (default: 8)")
    add("--threads", type=int, default=1, help="CPU threads (default: 1)")
    add("--costs", type=Path, default=Path("work/costs"), help="folder for the times taken")
    return parser.parse_args(sys.argv[1:])


def score(
    label: str, parent: parents.Parent, sample: scoring.Sample, against: Any = None
) -> scoring.Scores:
    """Score one sample, telling how far it is."""
    progress = runtime.Progress(label, "sequence", len(sample.sequences))
    scores = scoring.Scores()
    for scores in scoring.score(parent.model, sample, against):
        progress.update(len(scores.losses))
    return scores


def score_texts(
    args: argparse.Namespace, parent: parents.Parent
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The contents of perplexity.json and fidelity.json."""
    name = args.checkpoint.name
    perplexities = {}
    for text in args.windows:
        sample = scoring.windows(parent.tokenizer, text, args.seq_len, args.max_tokens)
        scores = score(f"{name} perplexity {text.stem}", parent, sample)
        perplexities[text.stem] = scoring.perplexity_record(sample, scores)
    sample = scoring.documents(parent.tokenizer, args.documents, args.splits)
    against = scoring.Reference.read(args.reference)
    scores = score(f"{name} perplexity {args.documents.stem}", parent, sample, against)
    chat_text = args.documents.stem
    perplexities[chat_text] = scoring.perplexity_record(sample, scores)
    return perplexities, scoring.fidelity_record(chat_text, sample, scores)


def ask(args: argparse.Namespace, parent: parents.Parent) -> dict[str, Any]:
    """The contents of lm_eval.json."""
    label = f"{args.checkpoint.name} lm-eval"
    lm = questions.ToldHFLM(parent.model, parent.tokenizer, args.batch_size, label)
    return questions.answer(lm, [questions.Asked.parse(task) for task in args.tasks])


def size_record(manifest: dict[str, Any]) -> dict[str, Any]:
    """The contents of size.json, from the manifest that the stage proved."""
    stored = manifest["bytes"]
    return {
        "format": manifest["format"],
        "bytes": stored["model"],
        "analytic_bytes": stored["analytic"],
        "header_bytes": stored["header"],
        "metadata_bytes": stored["metadata"],
        "parameters": manifest["parameters"]["total"],
        "nonzero": manifest["parameters"]["nonzero"],
    }


def main() -> None:
    """Load once, score everything, write everything."""
    args = parse_args()
    runtime.start(args.threads)
    costs = runtime.Costs("measure", args.threads)
    parent = parents.load(args.checkpoint, "dequantize", torch.bfloat16)
    costs.loaded()
    perplexities, fidelity = score_texts(args, parent)
    files.write_json(args.out / "perplexity.json", perplexities)
    files.write_json(args.out / "fidelity.json", fidelity)
    files.write_json(args.out / "lm_eval.json", ask(args, parent))
    files.write_json(args.out / "size.json", size_record(parent.manifest))
    costs.write(args.costs)


if __name__ == "__main__":
    errors.run(main)
