"""Judge the stored answers of one checkpoint: G-Eval, prompt alignment, clarity.

    .venv-judge/bin/python src/judge.py steps --endpoint http://localhost:8000/v1 \\
        --model Qwen/Qwen2.5-7B-Instruct --out results/smollm2-135m/judge/steps.json
    .venv-judge/bin/python src/judge.py verdicts --endpoint http://localhost:8000/v1 \\
        --model Qwen/Qwen2.5-7B-Instruct --text assets/text/alpaca.jsonl \\
        --splits results/smollm2-135m/splits.json --prompts 48 \\
        --answers results/smollm2-135m/seed0/evaluations/P/answers.json \\
        --steps results/smollm2-135m/judge/steps.json \\
        --out results/smollm2-135m/seed0/evaluations/P/judge.json

`steps` asks the judge once for its evaluation steps; every answer of every checkpoint is then
judged by the same steps. Verdicts are stored as files and never requested twice. Runs in the
environment `judge` (`make judge-env`) and needs only the endpoint.
"""

from pathlib import Path

from compression_order.common import declare, errors
from compression_order.judge.settings import Options


def parser() -> declare.Parser:
    made = declare.Parser(__doc__)
    parts = made.add_subparsers(dest="part", required=True, metavar="steps|verdicts")
    for name, meaning in (("steps", "ask for the steps"), ("verdicts", "judge the answers")):
        its = parts.add_parser(name, help=meaning)
        add = its.add_argument
        if name == "verdicts":
            add("--answers", type=Path, required=True, help="what src/answers.py wrote")
            add("--text", type=Path, required=True, help="chat text that the prompts are of")
            add("--splits", type=Path, help="take the held-out split of the text (default: all)")
            add("--prompts", type=int, default=0, help="prompts asked, 0 = all (default: 0)")
            add("--steps", type=Path, required=True, help="what `judge.py steps` wrote")
        add("--out", type=Path, required=True, help="JSON file to write")
        add(
            "--store", type=Path, default=Path("assets/verdicts"),
            help="folder of the stored verdicts (default: assets/verdicts)",
        )  # fmt: skip
        declare.add_flags(its, Options, "judge")
    return made


def main() -> None:
    args = parser().parse_args()
    options = declare.read(Options, vars(args))
    from compression_order.judge import judging

    (judging.write_steps if args.part == "steps" else judging.write)(args, options)


if __name__ == "__main__":
    errors.run(main)
