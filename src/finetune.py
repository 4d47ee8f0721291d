"""Fine-tune a checkpoint on the training split, through an adapter or in all weights.

    python src/finetune.py --parent results/smollm2-135m/seed0/checkpoints/P \\
        --out results/smollm2-135m/seed0/checkpoints/P-FT --pipeline P-FT \\
        --text assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --method lora --adapter.rank 8 --adapter.alpha 16 --training.steps 32
"""

from compression_order import errors, stage, training, tuning


def main() -> None:
    """Train with the next-token loss, prove, store."""
    job = stage.begin("finetune", __doc__ or "")
    tuning.run(job, job.training_documents(job.settings.training), training.next_token)


if __name__ == "__main__":
    errors.run(main)
