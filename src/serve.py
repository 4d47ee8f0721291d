"""Measure what one checkpoint costs to serve: size, operations, latency, throughput, energy.

    python src/serve.py --checkpoint results/smollm2-135m/seed0/checkpoints/P-Q \\
        --batch-sizes 1,4 --prompt 64 --new-tokens 32 --repeats 5 --warmup 1 \\
        --costs results/smollm2-135m/seed0/costs/P-Q

Writes <costs>/serving.json. Its times hold for this machine on this day, and
only if nothing else runs: no table and no manifest reads them.
"""

from pathlib import Path

from compression_order.common import declare, errors
from compression_order.study.settings import Serving


def parser() -> declare.Parser:
    made = declare.Parser(__doc__)
    made.add_argument("--checkpoint", type=Path, required=True, help="folder of the checkpoint")
    declare.add_flags(made, Serving)
    declare.add_work(made)
    return made


def main() -> None:
    """Load once, count, measure every batch size, write."""
    args = parser().parse_args()
    asked = declare.read(Serving, vars(args))
    from compression_order.evaluation import serving

    serving.write(args, asked)


if __name__ == "__main__":
    errors.run(main)
