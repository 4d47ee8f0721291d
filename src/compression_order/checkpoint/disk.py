"""What a checkpoint weighs: counted on the meta device, and read off the stored file."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from transformers import PretrainedConfig

from compression_order.checkpoint import models


@dataclass(frozen=True)
class Shape:
    """A model's linears of the decoder layers (rows, columns), and the number of all the rest."""

    matrices: tuple[tuple[int, int], ...]
    other: int

    @property
    def linears(self) -> tuple[int, ...]:
        """Weights of every linear, one by one."""
        return tuple(rows * columns for rows, columns in self.matrices)

    @property
    def total(self) -> int:
        """All parameters, a tied embedding counted once."""
        return sum(self.linears) + self.other


def shape_of(config: PretrainedConfig) -> Shape:
    """The shape of a configuration's model, built on the meta device: no weights, no memory."""
    with torch.device("meta"):
        model = models.blank(config)
    head = model.get_output_embeddings()
    linears = [m for m in model.modules() if isinstance(m, nn.Linear) and m is not head]
    matrices = tuple((m.out_features, m.in_features) for m in linears)
    return Shape(matrices, model.num_parameters() - sum(m.weight.numel() for m in linears))


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


def stored_bytes(*paths: Path) -> Stored:
    """Take the safetensors files of a checkpoint apart, and add them up.

    The header is 8 bytes of length and the JSON of that length. A quantized linear adds one
    small tensor that says how to read it; see `quant_states`.
    """
    header = metadata = 0
    for path in paths:
        with path.open("rb") as stream:
            header += 8 + int.from_bytes(stream.read(8), "little")
        with safe_open(path, "pt") as stored:
            metadata += sum(_bytes(stored.get_tensor(n)) for n in quant_states(stored.keys()))
    return Stored(sum(path.stat().st_size for path in paths), header, metadata)


def quant_states(names: Iterable[str]) -> list[str]:
    """The names of the metadata tensors; one a quantized linear.

    bitsandbytes: a JSON record of the settings in `*.quant_state.*`, and for int8 one byte
    `*.weight_format`; compressed-tensors: the two numbers of `*.weight_shape`.
    """
    marks = (".weight_format", ".weight_shape")
    return [name for name in names if ".quant_state." in name or name.endswith(marks)]


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
