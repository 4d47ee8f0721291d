"""Compute the KL divergence between two checkpoints' outputs on the held-out conversations.

    python src/compare.py --first results/smollm2-135m/seed0/checkpoints/P-Q \\
        --second results/smollm2-135m/seed0/checkpoints/Q-P \\
        --text assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --out results/smollm2-135m/seed0/commutators/P-Q~Q-P.json

`make commutators` runs it for every two pipelines that differ by a swap of two neighbouring stages.
"""

from pathlib import Path

from compression_order.common import declare, errors
from compression_order.study.settings import Opening


def parser() -> declare.Parser:
    made = declare.Parser(__doc__)
    made.add_argument("--first", type=Path, required=True, help="folder of a checkpoint")
    made.add_argument("--second", type=Path, required=True, help="folder of the other")
    made.add_argument("--text", type=Path, required=True, help="chat text, JSON lines")
    made.add_argument("--splits", type=Path, required=True, help="record numbers of the splits")
    made.add_argument("--out", type=Path, required=True, help="JSON file to write")
    declare.add_flags(made, Opening)
    declare.add_work(made)
    return made


def main() -> None:
    """Run both, compare, write."""
    args = parser().parse_args()
    opening = declare.read(Opening, vars(args))
    from compression_order.evaluation import distance

    distance.compare(args, opening)


if __name__ == "__main__":
    errors.run(main)
