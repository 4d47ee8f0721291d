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

from pathlib import Path

from compression_order.common import declare, errors
from compression_order.study.settings import Opening, Scoring

REPEATED = {
    "windows": "a text for windows perplexity; repeat it",
    "tasks": "task file, a colon, and its questions, 0 = all; repeat it",
    "hub-tasks": "lm-eval's own task or group, a colon, and the questions of each leaf, 0 = all",
    "hub-shots": "task of --hub-tasks, a colon, and the solved examples before each question "
    "(default: lm-eval's)",
    "dataset": "dataset that --hub-tasks read, an equals sign, and the folder of its snapshot",
    "task-folder": "folder below lm_eval/tasks where --hub-tasks lie; none = all are read (10 s)",
}


def parser() -> declare.Parser:
    made = declare.Parser(__doc__)
    add = made.add_argument
    add("--checkpoint", type=Path, required=True, help="folder of the checkpoint")
    add("--out", type=Path, required=True, help="folder for the JSON files")
    add("--documents", type=Path, required=True, help="chat text, for its held-out split")
    add("--splits", type=Path, required=True, help="record numbers of the splits")
    add("--reference", type=Path, required=True, help="the base's outputs on that split")
    for name, meaning in REPEATED.items():
        kind = Path if name == "windows" else str
        add(f"--{name}", type=kind, action="append", default=[], help=meaning)
    add("--nltk", type=Path, help="folder of NLTK's data, for --hub-tasks that read them")
    declare.add_flags(made, Scoring)
    declare.add_flags(made, Opening)
    declare.add_work(made)
    return made


def main() -> None:
    args = parser().parse_args()
    scoring, opening = declare.read(Scoring, vars(args)), declare.read(Opening, vars(args))
    from compression_order.evaluation import battery

    battery.measure(args, scoring, opening)


if __name__ == "__main__":
    errors.run(main)
