"""Generate one checkpoint's answers to the prompts of a study, once: a judge reads the stored file.

Answers are greedy, or sampled with a separate seed per prompt. They never contain the prompt.

    python src/answers.py --checkpoint results/smollm2-135m/seed0/checkpoints/P \\
        --reference results/smollm2-135m/seed0/checkpoints/base \\
        --text assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --prompts 48 --max-new-tokens 128 \\
        --out results/smollm2-135m/seed0/evaluations/P/answers.json
"""

from pathlib import Path

from compression_order.common import declare, errors
from compression_order.judge.settings import Generation


def parser() -> declare.Parser:
    made = declare.Parser(__doc__)
    add = made.add_argument
    add("--checkpoint", type=Path, required=True, help="folder of the checkpoint")
    add("--reference", type=Path, required=True, help="the base's checkpoint, which scores fluency")
    add("--text", type=Path, required=True, help="chat text, JSON lines")
    add("--splits", type=Path, help="take the held-out split of the text (default: all of it)")
    add("--seed", type=int, default=0, help="seed, if answers are sampled (default: 0)")
    add("--out", type=Path, required=True, help="JSON file to write")
    declare.add_flags(made, Generation)
    declare.add_work(made)
    return made


def main() -> None:
    args = parser().parse_args()
    how = declare.read(Generation, vars(args))
    from compression_order.evaluation import answering

    answering.write(args, how)


if __name__ == "__main__":
    errors.run(main)
