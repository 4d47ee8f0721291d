"""Ask the judge once by which steps it means to go: the chain of thought of G-Eval.

Every answer of every checkpoint of a study is then judged by the same steps. Runs in the
environment `judge`:

    .venv-judge/bin/python src/judge_steps.py --endpoint http://localhost:8000/v1 \\
        --model Qwen/Qwen2.5-7B-Instruct --out results/smollm2-135m/judge/steps.json
"""

import argparse
import sys
from pathlib import Path

from compression_order import errors, files, settings
from compression_order.judging import metrics, options, panel
from compression_order.judging.endpoint import client
from compression_order.judging.options import CLARITY, G_EVAL


def parse_args() -> argparse.Namespace:
    """The command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = settings.Parser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument(
        "--store", type=Path, default=Path("assets/verdicts"),
        help="folder of the stored verdicts (default: assets/verdicts)",
    )  # fmt: skip
    settings.add_flags(parser, options.Options, "judge")
    return parser.parse_args(sys.argv[1:])


def main() -> None:
    args = parse_args()
    judge = options.read(vars(args))
    its = panel.Panel(judge, client(judge), args.store)
    needed = {"g_eval": G_EVAL, metrics.COHERENCE: CLARITY}
    wanted = [m for m in metrics.rated(judge.variant) if needed[m.name] in judge.asked]
    files.write_json(args.out, {m.name: its.steps(m) for m in wanted})


if __name__ == "__main__":
    errors.run(main)
