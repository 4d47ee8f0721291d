"""Distill the teacher's outputs into a checkpoint.

    python src/distill.py --parent results/smollm2-135m/seed0/checkpoints/P \\
        --out results/smollm2-135m/seed0/checkpoints/P-KD --pipeline P-KD \\
        --text assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --teacher results/smollm2-135m/teacher/KD.safetensors \\
        --temperature 2.0 --alpha 0.5 --training.steps 32
"""

from compression_order import errors, stage, teacher, tuning


def main() -> None:
    """Train on the training split against the cached teacher, prove, store."""
    job = stage.begin("distill", __doc__ or "")
    settings = job.settings
    documents = job.training_documents(settings.training)
    cache = teacher.Cache(job.args.teacher, teacher.key(documents, settings.top_k))
    tuning.run(job, documents, job.method.objective(cache, settings))


if __name__ == "__main__":
    errors.run(main)
