"""Make the base checkpoint: the uncompressed model, with a manifest like every other.

    python src/base.py --model assets/models/smollm2-135m-instruct \\
        --out results/smollm2-135m/seed0/checkpoints/base
"""

from pathlib import Path

from compression_order.common import declare, errors


def parser() -> declare.Parser:
    made = declare.Parser(__doc__)
    made.add_argument("--model", type=Path, required=True, help="folder of the prepared model")
    made.add_argument("--out", type=Path, required=True, help="folder of the base checkpoint")
    made.add_argument("--seed", type=int, default=0, help="replicate (default: 0)")
    declare.add_work(made)
    return made


def main() -> None:
    """Verify the prepared model, copy it, describe it."""
    args = parser().parse_args()
    from compression_order.stages import base

    base.write(args.model, args.seed, args.threads, args.out, args.costs)


if __name__ == "__main__":
    errors.run(main)
