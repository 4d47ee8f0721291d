"""Compute the teacher's outputs on the training split, once for all distillations of a study.

    python src/teach.py --student results/smollm2-135m/seed0/checkpoints/base \\
        --text assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --seq-len 256 --mask-prompt true \\
        --out results/smollm2-135m/teacher/KD.safetensors

The student's checkpoint gives the tokenizer and the rows of vocabulary. It is its own teacher
unless `--model` names another checkpoint or a prepared model.
"""

import math
from pathlib import Path

from compression_order.common import declare, errors
from compression_order.training.settings import Teaching


def parser() -> declare.Parser:
    made = declare.Parser(__doc__)
    add = made.add_argument
    add("--student", type=Path, required=True, help="checkpoint of the uncompressed model")
    add(
        "--model",
        type=Path,
        help="folder of the teacher, a checkpoint or a prepared model (default: the student)",
    )
    add("--text", type=Path, required=True, help="chat text, JSON lines")
    add("--splits", type=Path, required=True, help="record numbers of the splits")
    add("--out", type=Path, required=True, help="safetensors file to write")
    add(
        "--temperatures",
        type=_numbers,
        default=(),
        help="temperatures at which the loss of a top-k is measured, as 2.0,4.0 (default: none)",
    )
    declare.add_flags(made, Teaching)
    declare.add_work(made)
    return made


def _numbers(text: str) -> tuple[float, ...]:
    found = tuple(float(part) for part in text.split(","))
    if not all(math.isfinite(number) and number >= 1 for number in found):
        raise ValueError(text)
    return found


def main() -> None:
    """Encode the training split as the distillation will, run the teacher, store."""
    args = parser().parse_args()
    asked = declare.read(Teaching, vars(args))
    from compression_order.stages import teach

    teach.write(args, asked)


if __name__ == "__main__":
    errors.run(main)
