"""The loader that turns any parent into what a stage works on: dense weights.

This is the only code of a stage that depends on its position in a pipeline. Otherwise a table
would show the effect of a code path and call it the effect of an order.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from compression_order.checkpoint import adapters, forms, masks
from compression_order.checkpoint.forms import Form
from compression_order.checkpoint.stored import CPU, Checkpoint
from compression_order.common.errors import HarnessError


@dataclass(frozen=True)
class Parent:
    """A parent checkpoint, ready for a stage.

    Attributes:
        checkpoint: as stored.
        model: dense, in the dtype asked for, in evaluation mode.
        requantize: the form in which a stage's result is stored again, or None to stay dense.
        drift: how far quantizing a quantized parent again, unchanged, would move its weights
            (relative L2, the largest over the linears of the first and the last layer); None
            for a dense parent.
    """

    checkpoint: Checkpoint
    model: PreTrainedModel
    requantize: Form | None
    drift: float | None

    @property
    def form(self) -> Form | None:
        """How its weights are quantized, None where they are dense."""
        return self.checkpoint.form


def load(folder: Path, on_quantized: str, dtype: torch.dtype, device: torch.device = CPU) -> Parent:
    """Load and verify a parent.

    Args:
        folder: the checkpoint.
        on_quantized: what to do with a quantized one; an adapter that it has is merged into the
            dequantized weights, unless this is `adapter`.
        dtype: float32 to train, bf16 otherwise.
        device: where the model computes.

    Raises:
        HarnessError: the checkpoint is damaged, or quantized and the stage refuses that.
    """
    checkpoint = Checkpoint.open(folder)
    form = checkpoint.form
    if form and on_quantized == "refuse":
        raise HarnessError(
            f"{folder} is quantized and the stage says `on_quantized: refuse`; the study should "
            "not ask for this pipeline"
        )
    model = checkpoint.model(dtype, device)
    if on_quantized != "adapter":
        adapters.merge(model)
    forms.remember_names(model)
    return Parent(
        checkpoint=checkpoint,
        model=model,
        requantize=None if on_quantized == "dequantize" else form,
        drift=_drift(form, model) if form else None,
    )


def _drift(form: Form, model: PreTrainedModel) -> float:
    layers = model.base_model.layers
    outer = {id(m) for layer in (layers[0], layers[-1]) for m in layer.modules()}
    moved = [0.0]
    for name, linear in masks.linears(model):
        if id(linear) in outer:
            weight = linear.weight.detach().to(CPU, torch.bfloat16)
            again = form.rounded(name, weight)
            moved.append(float((again - weight).float().norm() / weight.float().norm()))
    return max(moved)
