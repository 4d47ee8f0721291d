"""Run the base model over the fidelity text, once for all checkpoints of a study.

    python src/reference.py --model results/smollm2-135m/seed0/checkpoints/base \\
        --text assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --out results/smollm2-135m/teacher/reference.safetensors
"""

from pathlib import Path

from compression_order.common import declare, errors
from compression_order.study.settings import Opening


def parser() -> declare.Parser:
    made = declare.Parser(__doc__)
    made.add_argument("--model", type=Path, required=True, help="checkpoint of the base model")
    made.add_argument("--text", type=Path, required=True, help="chat text, JSON lines")
    made.add_argument("--splits", type=Path, required=True, help="record numbers of the splits")
    made.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    declare.add_flags(made, Opening)
    declare.add_work(made)
    return made


def main() -> None:
    """Keep the base's hidden states on the held-out conversations."""
    args = parser().parse_args()
    opening = declare.read(Opening, vars(args))
    from compression_order.evaluation import perplexity

    perplexity.write_reference(args, opening)


if __name__ == "__main__":
    errors.run(main)
