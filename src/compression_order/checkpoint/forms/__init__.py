"""How a quantized checkpoint is stored: what a form of storage offers, and which one a folder has.

A form is one way to store the weights, with what every stage needs of it. A stage that requantizes
stores its result in the form of its parent. A form is imported where a checkpoint has it, so that
editing one makes no other checkpoint stale.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor
from transformers import PreTrainedModel

from compression_order.architecture import storage
from compression_order.checkpoint import masks
from compression_order.common.errors import HarnessError

# the manifest's `format` -> the module that reads and writes it
REGISTRY = {
    "bnb-nf4": f"{__name__}.nf4",
    "bnb-int8": f"{__name__}.int8",
    "compressed-tensors": f"{__name__}.packed",
}
_ORIGIN = "name_in_parent"  # attribute of a linear


class Form(Protocol):
    """One way to store quantized weights; its module has `read`, which makes it of a folder."""

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

    def state(self, weights: Path) -> dict[str, Tensor]:
        """Every weight of a stored model, the quantized ones as the bf16 that kernels compute with.

        Args:
            weights: the safetensors file.
        """

    def prepare(self, loaded: PreTrainedModel) -> None:
        """Let a checkpoint that transformers loaded in this form run on this machine."""

    def linears(self, loaded: PreTrainedModel, weights: Path) -> int:
        """How many linears of a checkpoint are in this form, as loaded or as stored."""

    def analytic(self, shape: storage.Counts) -> int:
        """Bytes of the weights, by formula."""

    def rounded(self, name: str, weight: Tensor) -> Tensor:
        """A linear's weight as the stored form gives it back, in bf16.

        Args:
            name: of the module.
            weight: [outputs, inputs], bf16.
        """


def of(fields: Mapping[str, Any], folder: Path) -> Form | None:
    """The form of a checkpoint folder, None where it is dense.

    Args:
        fields: its config.json.
        folder: where it lies: a form may keep the scales that are stored there.

    Raises:
        HarnessError: it is quantized in a way that this version does not know.
    """
    config = fields.get("quantization_config")
    if not config:
        return None
    found = _format(config)
    if found not in REGISTRY:
        raise HarnessError(
            f"{folder / 'config.json'}: quant_method {config.get('quant_method')!r} is not known; "
            "delete the folder and run again"
        )
    form: Form = importlib.import_module(REGISTRY[found]).read(config, folder)
    return form


def remember_names(model: PreTrainedModel) -> None:
    """Note on every linear its name in the parent: removing layers gives those that stay others."""
    for name, linear in masks.linears(model):
        setattr(linear, _ORIGIN, name)


def name_in_parent(linear: Any, name: str) -> str:
    """The name that a linear had in the parent; the one given where nobody noted it."""
    return str(getattr(linear, _ORIGIN, name))


def _format(config: Mapping[str, Any]) -> str | None:
    if config.get("load_in_4bit"):
        return "bnb-nf4"
    return "bnb-int8" if config.get("load_in_8bit") else config.get("quant_method")
