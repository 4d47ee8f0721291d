"""Prune a checkpoint, then let it recover by fine-tuning.

    python src/prune.py --parent results/smollm2-135m/seed0/checkpoints/base \\
        --out results/smollm2-135m/seed0/checkpoints/P --pipeline P \\
        --text assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --ratio 0.25 --score wanda --round-to 64 --recovery.steps 32
"""

from compression_order.common import errors
from compression_order.stages import flags


def main() -> None:
    """Score and cut on the calibration split, recover on the training split, prove, store."""
    args, settings = flags.parse("prune", __doc__)
    from compression_order.stages import compress, stage

    compress.prune(stage.begin(args, settings))


if __name__ == "__main__":
    errors.run(main)
