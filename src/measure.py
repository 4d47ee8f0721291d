"""Evaluate one checkpoint: perplexity, fidelity to the base, question sets, size.

One process does all of it: importing the libraries and loading the model take longer than
some of the scores.

    python src/measure.py --checkpoint results/smollm2-135m/seed0/checkpoints/P \\
        --windows assets/text/wiki.jsonl --windows assets/text/c4.jsonl \\
        --seq-len 512 --max-tokens 8192 \\
        --documents assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --reference results/smollm2-135m/teacher/reference.safetensors \\
        --tasks tasks/openbookqa.yaml:150 --tasks tasks/boolq.yaml:80 \\
        --hub-tasks mmlu:20 --dataset cais/mmlu=assets/hub/datasets/cais/mmlu/REVISION \\
        --out results/smollm2-135m/seed0/evaluations/P
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from compression_order import (
    errors,
    files,
    hub_questions,
    parents,
    questions,
    runtime,
    scoring,
    settings,
)


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
    add(
        "--hub-tasks", action="append", default=[],
        help="lm-eval's own task or group, a colon, and the questions of each leaf, 0: all",
    )  # fmt: skip
    add(
        "--hub-shots", action="append", default=[],
        help="task of --hub-tasks, a colon, and the solved examples before each question "
        "(default: lm-eval's)",
    )  # fmt: skip
    add(
        "--dataset", action="append", default=[],
        help="hub dataset that --hub-tasks read, an equals sign, and the folder of its snapshot",
    )  # fmt: skip
    add(
        "--task-folder", action="append", default=[],
        help="folder below lm_eval/tasks where --hub-tasks lie; without it all are read (10 s)",
    )  # fmt: skip
    add("--nltk", type=Path, help="folder of NLTK's data, for --hub-tasks that read them")
    add("--batch-size", type=int, default=8, help="questions a batch (default: 8)")
    add(
        "--score-opening",
        type=settings.truth,
        default=False,
        help="score the opening that all held-out conversations share (default: false)",
    )
    settings.add_device(parser)
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
    sample = scoring.documents(parent.tokenizer, args.documents, args.splits, args.score_opening)
    against = scoring.Reference.read(args.reference, parent.model.device)
    scores = score(f"{name} perplexity {args.documents.stem}", parent, sample, against)
    chat_text = args.documents.stem
    perplexities[chat_text] = scoring.perplexity_record(sample, scores)
    return perplexities, scoring.fidelity_record(chat_text, sample, scores)


def prepare(args: argparse.Namespace, scratch: Path) -> list[questions.Prepared]:
    """Load all questions, before anything that takes long."""
    folders = hub_questions.snapshots(args.dataset)
    sources = hub_questions.Sources(folders, args.task_folder, args.nltk)
    asked = hub_questions.parse(args.hub_tasks, args.hub_shots)
    local = questions.prepare([questions.Asked.parse(task) for task in args.tasks])
    return [*local, *hub_questions.prepare(asked, sources, scratch)]


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


def measure(args: argparse.Namespace, scratch: Path) -> None:
    """Load once, score everything, write everything."""
    device = runtime.start(args.threads, device=args.device)
    costs = runtime.Costs("measure", args.threads)
    prepared = prepare(args, scratch)
    # an adapter is scored where it lies, beside the weights, not merged
    parent = parents.load(args.checkpoint, "adapter", torch.bfloat16, device)
    label = f"{args.checkpoint.name} lm-eval"
    lm = questions.ToldHFLM(parent.model, parent.tokenizer, args.batch_size, label)
    questions.require_room(lm, prepared)
    costs.loaded()
    perplexities, fidelity = score_texts(args, parent)
    files.write_json(args.out / "perplexity.json", perplexities)
    files.write_json(args.out / "fidelity.json", fidelity)
    files.write_json(args.out / "lm_eval.json", questions.answer(lm, prepared))
    files.write_json(args.out / "size.json", size_record(parent.manifest))
    costs.write(args.costs)


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory(prefix="questions-") as scratch:
        measure(args, Path(scratch))


if __name__ == "__main__":
    errors.run(main)
