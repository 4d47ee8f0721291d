"""Stages that make a model smaller: pruning, with its recovery training, and quantization."""

from compression_order.stages import tuning
from compression_order.stages.stage import Job
from compression_order.training import loop


def prune(job: Job) -> None:
    """Score and cut on the calibration split, recover on the training split, prove, store.

    On a quantized parent the recovery may see the cut weights as they will be stored.
    """
    model, how = job.parent.model, job.settings.recovery
    claims = job.method.apply(model, job.calibration(), job.settings)
    trainable = 0
    if how.steps:
        documents = job.training_documents(how)
        seen = tuning.seen_by(job)
        claims["recovery"] = job.train(model, documents, loop.next_token, how, seen)
        trainable = model.num_parameters()
    job.finish(model, claims, job.parent.requantize, trainable)


def quantize(job: Job) -> None:
    """Quantize (some methods calibrate), prove, store; a quantized parent is dequantized first."""
    model = job.parent.model
    form, shown = job.method.apply(model, job.calibration(), job.settings)
    job.finish(model, {**job.parent.checkpoint.manifest["architecture"], **shown}, form)
