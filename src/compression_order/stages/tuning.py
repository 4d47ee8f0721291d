"""Choose which weights of its parent a training stage trains, and what it stores.

- All weights: of a dense parent, or of a quantized one that is stored dense or quantized again.
- An adapter that is merged (`lora`) into such weights.
- An adapter on frozen quantized weights, stored beside them (`on_quantized: adapter`).
- All weights, rounded to the quantized parent's grid in the forward pass (`on_quantized:
  fake-quant`). The gradient ignores the rounding (the straight-through estimator of Bengio et al.
  2013, section 4, arXiv 1308.3432). The rounded model is stored.
"""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from compression_order.checkpoint import adapters, forms, masks
from compression_order.checkpoint.parents import Parent
from compression_order.common.errors import HarnessError
from compression_order.stages import stage
from compression_order.training.loop import Seen


def tune(job: stage.Job) -> None:
    """Train on the training split as `on_quantized` and the method say, prove, store.

    Args:
        job: the stage; its settings have a `training`, and an `adapter` where it may train one.

    Raises:
        HarnessError: an adapter's target matches nothing, or the parent has another adapter.
    """
    documents = job.training_documents(job.settings.training)
    teacher = getattr(job.args, "teacher_outputs", None)
    objective = job.method.objective(documents, job.settings, teacher)
    model, how = job.parent.model, job.settings.training
    quantized = job.parent.form is not None
    beside = quantized and job.args.on_quantized == "adapter"
    seen = seen_by(job)
    if beside or job.settings.adapts:
        _adapt(job, beside)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    trained = job.train(model, documents, objective, how, seen)
    if job.parent.requantize and not adapters.parameters(model):
        trained["survives"] = surviving(job.parent, model)
    claims = {**job.parent.checkpoint.manifest["architecture"], "training": trained}
    if teacher:
        claims["teacher"] = job.method.taught(documents, job.settings, teacher)
    if beside:
        claims["adapter"] = {**job.settings.adapter.model_dump(), "parameters": trainable}
    elif adapters.parameters(model):
        adapters.merge(model)
    job.finish(model, claims, job.parent.requantize, trainable)


def surviving(parent: Parent, model: PreTrainedModel) -> dict[str, float]:
    """What of a training is left of the linears once they are quantized again.

    With a parent's weights p, the trained ones w and the stored ones s, as dequantized: `moved`,
    the share of weights with s != p; and `kept`, the part of w - p that s - p has in its direction,
    <s - p, w - p> / |w - p|^2. Both are 0 where quantizing puts all of them back. What is not
    quantized (embeddings, norms) keeps what it learned.

    Args:
        parent: the quantized parent; its checkpoint is read once more.
        model: the trained model, dense.
    """
    assert parent.requantize is not None
    before = dict(masks.linears(parent.checkpoint.model(torch.bfloat16)))
    along, length, moved, count = 0.0, 0.0, 0, 0
    for name, linear in masks.linears(model):
        trained = linear.weight.detach().cpu().float()
        was = before.pop(name).weight.detach()
        stored = parent.requantize.rounded(name, trained.to(torch.bfloat16))
        step = trained - was.float()
        along += float(((stored.float() - was.float()) * step).double().sum())
        length += float((step * step).double().sum())
        moved += int((stored != was).sum())
        count += was.numel()
    return {"kept": along / length if length else 0.0, "moved": moved / count}


def _adapt(job: stage.Job, beside: bool) -> None:
    """Give the parent an adapter, or go on with the one that it has."""
    model, asked = job.parent.model, job.settings.adapter
    if not adapters.parameters(model):
        adapters.put(model, asked, masked=not beside)
        return
    if not adapters.same(model, adapters.stored_with(job.args.parent), asked):
        raise HarnessError(
            f"{job.args.parent} has an adapter of another shape than {job.args.pipeline} asks for; "
            "give both stages the same `adapter`, or let this one `requantize`"
        )
    adapters.freeze(model)


def seen_by(job: stage.Job) -> Seen | None:
    """What the forward passes of a training see in place of the weights; None: the weights."""
    if job.parent.form is None or job.args.on_quantized != "fake-quant":
        return None
    return through(job.parent.form)


def through(form: forms.Form) -> Seen:
    """Round the decoder layers' linears to a form's grid, with straight-through gradient.

    Rounding is in bf16, as in storing.
    """

    def seen(model: PreTrainedModel) -> dict[str, Tensor]:
        found = {}
        for name, linear in masks.linears(model):
            weight = linear.weight
            with torch.no_grad():
                rounded = form.rounded(name, weight.to(torch.bfloat16)).to(weight.dtype)
                step = rounded - weight
            found[f"{name}.weight"] = weight + step
        return found

    return seen
