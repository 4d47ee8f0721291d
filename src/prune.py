"""Prune a checkpoint, then let it recover by fine-tuning.

    python src/prune.py --parent results/smollm2-135m/seed0/checkpoints/base \\
        --out results/smollm2-135m/seed0/checkpoints/P --pipeline P \\
        --text assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --ratio 0.25 --score wanda --round-to 64 --recovery.steps 32
"""

from compression_order import errors, stage, training


def main() -> None:
    """Score and cut on the calibration split, recover on the training split, prove, store."""
    job = stage.begin("prune", __doc__ or "")
    model, settings = job.parent.model, job.settings
    claims = job.method.apply(model, job.calibration(), settings)
    trainable = 0
    if settings.recovery.steps:
        how = settings.recovery
        documents = job.training_documents(how)
        claims["recovery"] = job.train(model, documents, training.next_token, how)
        trainable = model.num_parameters()
    job.finish(model, claims, job.parent.requantize, trainable)


if __name__ == "__main__":
    errors.run(main)
