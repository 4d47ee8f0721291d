"""How a quantized checkpoint is stored: what a form of storage offers, and which one a folder has.

A form is the settings of one way to store the weights (`nf4.Settings`, say) with what every
stage needs of it. A stage that requantizes stores its result in the form of its parent.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor
from transformers import PreTrainedModel

from compression_order import files, formulas, packed
from compression_order.errors import HarnessError
from compression_order.methods import int8, nf4

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WITH_ADAPTER = "+lora"  # a format's ending where an adapter lies beside the weights


class Form(Protocol):
    """One way to store quantized weights."""

    @property
    def format(self) -> str:
        """The manifest's `format`."""

    def record(self) -> dict[str, Any]:
        """The manifest's `quantization`: what a later stage needs to store this way again."""

    def store(self, model: PreTrainedModel, folder: Path) -> dict[str, Any]:
        """Write a dense model, quantized, into a folder that this makes.

        Returns:
            What the manifest's claims record of it.
        """

    def linears(self, loaded: PreTrainedModel, weights: Path) -> int:
        """How many linears of a checkpoint are in this form, as loaded or as stored."""

    def analytic(self, shape: formulas.Counts) -> int:
        """Bytes of the weights, by formula."""

    def rounded(self, name: str, weight: Tensor) -> Tensor:
        """A linear's weight as the stored form gives it back, in bf16.

        Args:
            name: of the module.
            weight: [outputs, inputs], bf16.
        """


def of(manifest: Mapping[str, Any], folder: Path) -> Form | None:
    """The form of a checkpoint, None where it is dense.

    Args:
        manifest: its `checkpoint.json`.
        folder: where it lies: a form may keep the scales that are stored there.

    Raises:
        HarnessError: the manifest names a form that this version does not know.
    """
    if manifest["format"] == "dense":
        return None
    stored = manifest["format"].removesuffix(WITH_ADAPTER)
    if stored == nf4.FORMAT:
        return nf4.Settings(**manifest["quantization"])
    if stored == int8.FORMAT:
        return int8.Settings(**manifest["quantization"])
    if stored == packed.FORMAT:
        return packed.read(manifest["quantization"], folder / WEIGHTS)
    raise HarnessError(
        f"{folder}: the format {manifest['format']!r} is not known; delete the folder and run again"
    )


def dense_state(folder: Path) -> dict[str, Tensor]:
    """The state of a quantized checkpoint with every weight as the bf16 that its kernels use.

    Args:
        folder: the checkpoint; its config.json says how it is quantized.

    Raises:
        HarnessError: it is quantized in a way that this version does not know.
    """
    config = files.read_json(folder / CONFIG)["quantization_config"]
    if config.get("load_in_4bit"):
        return nf4.dequantized(folder / WEIGHTS)
    if config.get("load_in_8bit"):
        return int8.dequantized(folder / WEIGHTS)
    if config["quant_method"] == packed.FORMAT:
        return packed.dequantized(folder / WEIGHTS, config)
    raise HarnessError(
        f"{folder / CONFIG}: quant_method {config.get('quant_method')!r} is not known; "
        "delete the folder and run again"
    )
