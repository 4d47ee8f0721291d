"""Quantize a checkpoint.

    python src/quantize.py --parent results/smollm2-135m/seed0/checkpoints/P \\
        --out results/smollm2-135m/seed0/checkpoints/P-Q --pipeline P-Q \\
        --text assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --double-quant true
"""

from compression_order.common import errors
from compression_order.stages import flags


def main() -> None:
    """Quantize (some methods calibrate), prove, store."""
    args, settings = flags.parse("quantize", __doc__)
    from compression_order.stages import compress, stage

    compress.quantize(stage.begin(args, settings))


if __name__ == "__main__":
    errors.run(main)
