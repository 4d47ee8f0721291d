r"""python src/split_text.py --text assets/text/alpaca.jsonl --seed 0 \
    --train 600 --calibration 64 --held-out 48 --out results/ordering/splits.json

Draw the three disjoint parts of a chat text, as lists of record indices: what training reads,
what calibrates pruning scores, and what evaluations score. No prompt is in two of them.
"""

from pathlib import Path

from compression_order.assets import splits
from compression_order.common import declare, errors


def parser() -> declare.Parser:
    made = declare.Parser(__doc__)
    add = made.add_argument
    add("--text", type=Path, required=True, help="chat text, JSON lines")
    add("--held-out-text", type=Path, help="text of the held-out part (default: the same)")
    add("--seed", type=int, default=0, help="seed of the draw (default: 0)")
    for part in splits.PARTS[::-1]:
        flag = f"--{part.replace('_', '-')}"
        add(flag, type=int, required=True, help="conversations in this part")
    add("--out", type=Path, required=True, help="the JSON to write")
    return made


def main() -> None:
    args = parser().parse_args()
    sizes = {part: getattr(args, part) for part in splits.PARTS}
    splits.write(args.text, args.held_out_text, sizes, args.seed, args.out)


if __name__ == "__main__":
    errors.run(main)
