"""Time the products of a study's model in bf16 and in float32, and write its lock file.

    python src/lock.py --model assets/models/smollm2-135m-instruct --compute auto \\
        --out studies/my-study.lock.yaml
"""

from pathlib import Path

from compression_order.common import arithmetic, declare, errors


def parser() -> declare.Parser:
    made = declare.Parser(__doc__)
    declare.add_device(made)
    made.add_argument("--model", type=Path, required=True, help="folder of the prepared model")
    made.add_argument(
        "--compute",
        choices=(*arithmetic.KINDS, arithmetic.AUTO),
        default=arithmetic.AUTO,
        help="what the study names; auto = the faster of the two (default: auto)",
    )
    made.add_argument("--out", type=Path, required=True, help="the lock file")
    return made


def main() -> None:
    args = parser().parse_args()
    from compression_order.stages import lock

    lock.write(args.model, args.device, args.compute, args.out)


if __name__ == "__main__":
    errors.run(main)
