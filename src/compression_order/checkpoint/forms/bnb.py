"""What the forms that bitsandbytes stores have in common: no calibration, kernels made on loading.

Every linear of the decoder layers is quantized; embeddings, norms and the output head stay in
bf16.
"""

import copy
from abc import ABC, abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from compression_order.checkpoint import models


class BitsAndBytes(ABC):
    """Half of a `forms.Form`; a frozen dataclass with the choices of a form is the other half."""

    FORMAT: ClassVar[str]
    KERNEL: ClassVar[str]  # class of a quantized linear, as loaded

    @property
    def format(self) -> str:
        """The manifest's `format`."""
        return self.FORMAT

    @abstractmethod
    def config(self) -> BitsAndBytesConfig:
        """How transformers is to quantize a dense checkpoint while it loads it.

        Raises:
            HarnessError: bitsandbytes cannot on this machine.
        """

    def record(self) -> dict[str, Any]:
        """The manifest's `quantization`."""
        return asdict(self)  # type: ignore[call-overload]  # a form is a dataclass

    def quantize(self, model: PreTrainedModel) -> PreTrainedModel:
        """A dense bf16 model with its decoder linears quantized; the model stays as it is."""
        made: PreTrainedModel = type(model).from_pretrained(
            None,
            config=copy.deepcopy(model.config),
            state_dict=model.state_dict(),
            quantization_config=self.config(),
            dtype=torch.bfloat16,
        )
        made.generation_config = copy.deepcopy(model.generation_config)
        return made

    def store(self, model: PreTrainedModel, folder: Path) -> dict[str, Any]:
        """Write a dense model, quantized, into a folder that this makes."""
        self.quantize(model).save_pretrained(folder, max_shard_size="1TB")
        return {}

    def prepare(self, loaded: PreTrainedModel) -> None:
        """Let a loaded checkpoint run on this machine: these kernels need nothing for it."""
        return

    def linears(self, loaded: PreTrainedModel, weights: Path) -> int:
        """How many linears of a loaded model are quantized."""
        return len(models.kernels(loaded, self.KERNEL))

    def claims(self, model: PreTrainedModel) -> dict[str, Any]:
        """What the checkpoint of a dense model must show: every linear of its decoder layers."""
        layers = model.base_model.layers
        count = sum(isinstance(m, nn.Linear) for layer in layers for m in layer.modules())
        return {"quantized_linears": count}
