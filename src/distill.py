"""Distill the teacher's outputs into a checkpoint.

    python src/distill.py --parent results/smollm2-135m/seed0/checkpoints/P \\
        --out results/smollm2-135m/seed0/checkpoints/P-KD --pipeline P-KD \\
        --text assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --teacher-outputs results/smollm2-135m/teacher/KD.safetensors \\
        --temperature 2.0 --alpha 0.5 --training.steps 32
"""

from compression_order.common import errors
from compression_order.stages import flags


def main() -> None:
    """Train on the training split against the cached teacher, prove, store."""
    args, settings = flags.parse("distill", __doc__)
    from compression_order.stages import stage, tuning

    tuning.tune(stage.begin(args, settings))


if __name__ == "__main__":
    errors.run(main)
