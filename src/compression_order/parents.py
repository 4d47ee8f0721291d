"""The loader that turns any parent into what a stage works on: dense weights.

This is the only code of a stage that depends on its position in a pipeline. Otherwise a table
would show the effect of a code path and call it the effect of an order.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from compression_order import files
from compression_order.errors import HarnessError
from compression_order.methods import nf4

MANIFEST = "checkpoint.json"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Parent:
    """A parent checkpoint, ready for a stage.

    Attributes:
        model: dense, in the dtype asked for, in evaluation mode.
        tokenizer: the tokenizer stored beside it.
        manifest: its `checkpoint.json`.
        digest: SHA-256 of that file.
        requantize: the NF4 settings that a stage's result takes again, or None to stay dense.
        drift: how far quantizing a quantized parent again, unchanged, would move its weights
            (relative L2, the largest over the linears of the first and the last layer); None
            for a dense parent.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    manifest: dict[str, Any]
    digest: str
    requantize: nf4.Settings | None
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


def _remedy(folder: Path) -> str:
    return f"delete the folder {folder} and run again"


def dense(folder: Path, dtype: torch.dtype, quantized: bool) -> PreTrainedModel:
    """The model of a checkpoint folder with dense weights.

    A 4-bit checkpoint gives the bf16 weights that its kernels compute with; what their own
    rounding adds is measured in tests/test_real.py.
    """
    if not quantized:
        return _evaluating(AutoModelForCausalLM.from_pretrained(folder, dtype=dtype))
    config = AutoConfig.from_pretrained(folder)
    del config.quantization_config
    state: dict[str, Tensor] = nf4.dequantized(folder / WEIGHTS)
    architecture = getattr(transformers, config.architectures[0])
    return _evaluating(
        architecture.from_pretrained(None, config=config, state_dict=state, dtype=dtype)
    )


def _evaluating(model: PreTrainedModel) -> PreTrainedModel:
    evaluating: PreTrainedModel = model.eval()
    return evaluating


def load(folder: Path, on_quantized: str, dtype: torch.dtype) -> Parent:
    """Load and verify a parent.

    Args:
        folder: the checkpoint.
        on_quantized: what to do with a quantized one: requantize, dequantize or refuse.
        dtype: float32 to train, bf16 otherwise.

    Raises:
        HarnessError: the checkpoint is damaged, or quantized and the stage refuses that.
    """
    manifest = verified(folder)
    quantized = manifest["format"] == nf4.FORMAT
    if quantized and on_quantized == "refuse":
        raise HarnessError(
            f"{folder} is quantized and the stage says `on_quantized: refuse`; the study should "
            "not ask for this pipeline"
        )
    again = nf4.Settings(**manifest["quantization"]) if quantized else None
    model = dense(folder, dtype, quantized)
    return Parent(
        model=model,
        tokenizer=AutoTokenizer.from_pretrained(folder),
        manifest=manifest,
        digest=files.sha256(folder / MANIFEST),
        requantize=again if on_quantized == "requantize" else None,
        drift=nf4.drift(_outer_linears(model), again) if again else None,
    )


def _outer_linears(model: PreTrainedModel) -> list[Tensor]:
    layers = model.base_model.layers
    outer = [module for layer in (layers[0], layers[-1]) for module in layer.modules()]
    return [m.weight.detach().to(torch.bfloat16) for m in outer if isinstance(m, nn.Linear)]
