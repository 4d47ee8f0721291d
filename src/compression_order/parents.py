"""The loader that turns any parent into what a stage works on: dense weights.

This is the only code of a stage that depends on its position in a pipeline. Otherwise a table
would show the effect of a code path and call it the effect of an order.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from compression_order import adapters, files, forms, loading, masks, packed
from compression_order.errors import HarnessError

MANIFEST = "checkpoint.json"
WEIGHTS = "model.safetensors"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Parent:
    """A parent checkpoint, ready for a stage.

    Attributes:
        model: dense, in the dtype asked for, in evaluation mode.
        tokenizer: the tokenizer stored beside it.
        manifest: its `checkpoint.json`.
        digest: SHA-256 of that file.
        form: how its weights are quantized, None where they are dense.
        requantize: the form in which a stage's result is stored again, or None to stay dense.
        drift: how far quantizing a quantized parent again, unchanged, would move its weights
            (relative L2, the largest over the linears of the first and the last layer); None
            for a dense parent.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    manifest: dict[str, Any]
    digest: str
    form: forms.Form | None
    requantize: forms.Form | None
    drift: float | None


def verified(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint whose files are what it says.

    Raises:
        HarnessError: the manifest or a file is missing, or a digest differs.
    """
    manifest: dict[str, Any] = files.read_json(folder / MANIFEST)
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.exists():
            raise HarnessError(f"{path} is missing though {MANIFEST} lists it; {_remedy(folder)}")
        if files.sha256(path) != expected:
            raise HarnessError(
                f"{path} is not the file that {MANIFEST} describes (its sha256 differs: "
                f"truncated or changed, {path.stat().st_size} bytes); {_remedy(folder)}"
            )
    return manifest


def bf16(folder: Path, device: torch.device) -> PreTrainedModel:
    """A prepared model in bf16."""
    return dense(folder, torch.bfloat16, False, device)


def int8(folder: Path, device: torch.device) -> PreTrainedModel:
    """A prepared model with 8-bit linears: LLM.int8 of Dettmers et al. 2022, by bitsandbytes."""
    model = loading.pretrained(
        folder,
        quantization_config=BitsAndBytesConfig(load_in_8bit=True),
        dtype=torch.bfloat16,
        device_map={"": device},
    )
    return model.eval()


def _remedy(folder: Path) -> str:
    return f"delete the folder {folder} and run again"


def dense(
    folder: Path, dtype: torch.dtype, quantized: bool, device: torch.device = CPU
) -> PreTrainedModel:
    """The model of a checkpoint folder with dense weights, on a device.

    A quantized checkpoint gives the bf16 weights that its kernels compute with; what their own
    rounding adds is measured in tests/test_real.py. An adapter beside them is put on, unmerged.
    """
    if not quantized:
        return _evaluating(loading.pretrained(folder, dtype=dtype), device)
    config = loading.config_of(folder)
    del config.quantization_config
    state: dict[str, Tensor] = forms.dense_state(folder)
    model = loading.from_state(config, state, dtype)
    if adapters.is_stored(folder):
        adapters.attach(model, folder)
    return _evaluating(model, device)


def _evaluating(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    evaluating: PreTrainedModel = model.to(device).eval()
    return evaluating


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
    manifest = verified(folder)
    form = forms.of(manifest, folder)
    if form and on_quantized == "refuse":
        raise HarnessError(
            f"{folder} is quantized and the stage says `on_quantized: refuse`; the study should "
            "not ask for this pipeline"
        )
    model = dense(folder, dtype, form is not None, device)
    masks.attach(model, folder)
    if on_quantized != "adapter":
        adapters.merge(model)
    packed.remember(model)
    return Parent(
        model=model,
        tokenizer=loading.tokenizer(folder),
        manifest=manifest,
        digest=files.sha256(folder / MANIFEST),
        form=form,
        requantize=None if on_quantized == "dequantize" else form,
        drift=_drift(form, model) if form else None,
    )


def _drift(form: forms.Form, model: PreTrainedModel) -> float:
    layers = model.base_model.layers
    outer = {id(m) for layer in (layers[0], layers[-1]) for m in layer.modules()}
    moved = [0.0]
    for name, linear in masks.linears(model):
        if id(linear) in outer:
            weight = linear.weight.detach().to(CPU, torch.bfloat16)
            again = form.rounded(name, weight)
            moved.append(float((again - weight).float().norm() / weight.float().norm()))
    return max(moved)
