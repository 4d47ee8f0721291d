"""Fine-tune a checkpoint on the training split, through an adapter or in all weights.

    python src/finetune.py --parent results/smollm2-135m/seed0/checkpoints/P \\
        --out results/smollm2-135m/seed0/checkpoints/P-FT --pipeline P-FT \\
        --text assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --method lora --adapter.rank 8 --adapter.alpha 16 --training.steps 32
"""

from compression_order.common import errors
from compression_order.stages import flags


def main() -> None:
    """Train with the next-token loss, prove, store."""
    args, settings = flags.parse("finetune", __doc__)
    from compression_order.stages import stage, tuning

    tuning.tune(stage.begin(args, settings))


if __name__ == "__main__":
    errors.run(main)
