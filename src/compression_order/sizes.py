"""What a checkpoint weighs: counted on the meta device, and read off the stored file."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig


@dataclass(frozen=True)
class Shape:
    """Parameters of a model: those of the decoder layers' linears, one by one, and the rest."""

    linears: tuple[int, ...]
    other: int

    @property
    def total(self) -> int:
        """All parameters, a tied embedding counted once."""
        return sum(self.linears) + self.other


def shape_of(config: PretrainedConfig) -> Shape:
    """The shape of a configuration's model, built on the meta device: no weights, no memory."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    linears = [m for m in model.modules() if isinstance(m, nn.Linear) and m is not head]
    counts = tuple(m.weight.numel() for m in linears)
    return Shape(counts, model.num_parameters() - sum(counts))


@dataclass(frozen=True)
class Stored:
    """The bytes of a safetensors file: header, metadata tensors, and the weights proper."""

    file: int
    header: int
    metadata: int

    @property
    def weights(self) -> int:
        """Bytes that the formulas of this module give."""
        return self.file - self.header - self.metadata


def stored_bytes(path: Path) -> Stored:
    """Take a safetensors file apart.

    The header is 8 bytes of length and the JSON of that length; bitsandbytes adds one small
    tensor `*.quant_state.*` a linear, a JSON record of its settings.
    """
    with path.open("rb") as stream:
        header = 8 + int.from_bytes(stream.read(8), "little")
    with safe_open(path, "pt") as stored:
        metadata = sum(_bytes(stored.get_tensor(n)) for n in quant_states(stored.keys()))
    return Stored(path.stat().st_size, header, metadata)


def quant_states(names: Iterable[str]) -> list[str]:
    """The names of bitsandbytes' metadata tensors; one a quantized linear."""
    return [name for name in names if ".quant_state." in name]


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
