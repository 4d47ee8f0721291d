"""The size of a checkpoint from its configuration alone (DESIGN section 7), in bytes."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig

BYTES_PER_WEIGHT = 2  # bf16


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


def dense_bytes(shape: Shape) -> int:
    """bf16: two bytes a parameter."""
    return BYTES_PER_WEIGHT * shape.total


def nf4_linear_bytes(weights: int, double_quant: bool = True) -> int:
    """One linear in NF4 (bitsandbytes; Dettmers et al. 2023, section 3).

    Half a byte a weight, the code book of NF4 (16 float32) and one scale a block of 64:
    float32, or with double quantization int8, with one float32 scale a block of 256 of those
    and their code book (256 float32).
    """
    blocks = ceil(weights / 64)
    scales = blocks + 4 * ceil(blocks / 256) + 4 * 256 if double_quant else 4 * blocks
    return ceil(weights / 2) + scales + 4 * 16


def nf4_bytes(shape: Shape, double_quant: bool = True) -> int:
    """NF4 linears, everything else in bf16."""
    linears = sum(nf4_linear_bytes(n, double_quant) for n in shape.linears)
    return linears + BYTES_PER_WEIGHT * shape.other


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
