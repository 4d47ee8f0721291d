r"""python src/split_text.py --text assets/text/alpaca.jsonl --seed 0 \
    --train 600 --calibration 64 --held-out 48 --out results/ordering/splits.json

Draw the disjoint parts of a chat text, as lists of record indices: what training reads, what
calibrates pruning scores, what settings are chosen on, and what evaluations score. Of conversations
that say nearly the same one is kept, so that no two parts share any.
"""

from pathlib import Path

from compression_order.assets import splits
from compression_order.common import declare, errors

EARLIER = ("train", "calibration", "held_out")


def parser() -> declare.Parser:
    made = declare.Parser(__doc__)
    add = made.add_argument
    add("--text", type=Path, required=True, help="chat text, JSON lines")
    add("--held-out-text", type=Path, help="text of the held-out part (default: the same)")
    add("--seed", type=int, default=0, help="seed of the draw (default: 0)")
    for part in splits.PARTS:
        flag = f"--{part.replace('_', '-')}"
        add(flag, type=int, default=0, help="conversations in this part (default: 0)")
    add(
        "--replicate", type=int,
        help="redraw what is read, and leave what is scored (default: one draw for all)",
    )  # fmt: skip
    add(
        "--near-duplicates", choices=("leave-out", "keep"), default="leave-out",
        help="conversations that say nearly the same: one is kept, or all (default: leave-out)",
    )  # fmt: skip
    for part in ("seed", *EARLIER):
        told = "its seed" if part == "seed" else f"its conversations in {part.replace('_', '-')}"
        flag = f"--not-of.{part.replace('_', '-')}"
        add(flag, type=int, help=f"an earlier draw that is never scored: {told} (default: none)")
    add("--out", type=Path, required=True, help="the JSON to write")
    return made


def main() -> None:
    args = parser().parse_args()
    sizes = {part: getattr(args, part) for part in splits.PARTS}
    earlier = {part: getattr(args, f"not_of.{part}") for part in ("seed", *EARLIER)}
    known = earlier if all(value is not None for value in earlier.values()) else None
    keep = args.near_duplicates == "keep"
    asked = splits.Asked(sizes, args.seed, args.replicate, known, keep)
    splits.write(args.text, args.held_out_text, asked, args.out)


if __name__ == "__main__":
    errors.run(main)
