"""Zeros that an unstructured pruning made, kept by every later stage.

A mask is one bit a weight of a linear of the decoder layers, true where the pruning put a zero.
It lies beside the weights in `mask.safetensors`, travels in the model as a buffer that is not
saved with it, is cut with the weight that it belongs to, and is put back after every training
step. Quantized weights have zeros of their own: only the mask tells which were pruned.

A method that prunes single weights calls `take` when it is done; nothing else is asked of it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from compression_order.common.errors import HarnessError

FILE = "mask.safetensors"
_BUFFER = "pruned"


def linears(model: PreTrainedModel) -> Iterator[tuple[str, Any]]:
    """Name and module of every linear of the decoder layers; an adapter's own are none."""
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module is not head and ".lora_" not in name:
            yield name.removesuffix(".base_layer"), module


def take(model: PreTrainedModel) -> None:
    """Every zero of the decoder layers' linears is pruned from here on; changes the model."""
    for _, linear in linears(model):
        linear.register_buffer(_BUFFER, linear.weight.detach() == 0, persistent=False)


def of(model: PreTrainedModel) -> dict[str, Tensor]:
    """Linear -> its mask, [outputs, inputs]; empty where nothing was pruned weight by weight."""
    found = ((name, getattr(linear, _BUFFER, None)) for name, linear in linears(model))
    return {name: mask for name, mask in found if mask is not None}


def of_linear(linear: Any) -> Tensor:
    """[outputs, inputs], true where a linear was pruned; all false where it was not."""
    mask: Tensor | None = getattr(linear, _BUFFER, None)
    return torch.zeros_like(linear.weight, dtype=torch.bool) if mask is None else mask


def select(linear: Any, kept: Tensor, dim: int) -> None:
    """Keep these rows (`dim` 0) or columns (1) of a linear's mask, if it has one."""
    mask = getattr(linear, _BUFFER, None)
    if mask is not None:
        linear.register_buffer(_BUFFER, mask.index_select(dim, kept), persistent=False)


def restore(
    model: PreTrainedModel, like: Callable[[Tensor, Tensor], Tensor] = lambda mask, _: mask
) -> None:
    """Put the zeros back; changes the model.

    Args:
        model: dense, or sharded over several devices.
        like: this process's part of a mask, for the part of a weight that it has.
    """
    for _, linear in linears(model):
        mask = getattr(linear, _BUFFER, None)
        if mask is not None:
            with torch.no_grad():
                linear.weight.masked_fill_(like(mask, linear.weight), 0)


def shares(model: PreTrainedModel) -> dict[str, float]:
    """The smallest and the largest share of zeros in a linear of the decoder layers."""
    found = [float((linear.weight == 0).float().mean()) for _, linear in linears(model)]
    return {"lowest": min(found), "highest": max(found)}


def write(masks: Mapping[str, Tensor], folder: Path) -> None:
    """Store masks beside a checkpoint, eight weights a byte; none, no file."""
    if masks:
        packed = {name: torch.from_numpy(np.packbits(m.cpu().numpy())) for name, m in masks.items()}
        save_file(packed, folder / FILE)


def attach(model: PreTrainedModel, folder: Path) -> None:
    """Give a model the masks that lie beside its checkpoint, if any; changes the model.

    Raises:
        HarnessError: a mask does not fit its linear.
    """
    if not (folder / FILE).exists():
        return
    packed = load_file(folder / FILE)
    for name, linear in linears(model):
        shape = linear.weight.shape
        bits = np.unpackbits(packed[name].numpy())
        if not 0 <= len(bits) - shape.numel() < 8:
            raise HarnessError(
                f"{folder / FILE} does not fit {name}; delete {folder} and run again"
            )
        mask = torch.from_numpy(bits[: shape.numel()].astype(bool)).reshape(shape)
        linear.register_buffer(_BUFFER, mask.to(linear.weight.device), persistent=False)


@dataclass(frozen=True)
class Retention:
    """How many of the masked weights are still zero.

    Attributes:
        masked: weights that were pruned.
        zero: those of them that are zero.
        weights: of all linears of the decoder layers.
    """

    masked: int
    zero: int
    weights: int

    def record(self) -> dict[str, float | int]:
        """The entry of the manifest."""
        return {
            "weights": self.masked,
            "share": self.masked / self.weights,
            "retained": self.zero / self.masked if self.masked else 1.0,
        }


def retention(masks: Mapping[str, Tensor], model: PreTrainedModel) -> Retention:
    """Compare masks with the weights of a model as stored."""
    found = dict(linears(model))
    zero = sum(int((found[name].weight[mask.cpu()] == 0).sum()) for name, mask in masks.items())
    masked = sum(int(mask.sum()) for mask in masks.values())
    return Retention(masked, zero, sum(linear.weight.numel() for linear in found.values()))
