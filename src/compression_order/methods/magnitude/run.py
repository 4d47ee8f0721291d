"""Magnitude pruning: the weights of smallest absolute value go, the same share of every linear.

Han et al. 2015, section 3 (arXiv 1506.02626), layer by layer; no text is read.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from compression_order.checkpoint import masks
from compression_order.methods import zeroing
from compression_order.methods.magnitude.settings import Settings
from compression_order.text import chat


def zeroed(weight: Tensor, share: float, zeros: int, of: int) -> Tensor:
    """A weight whose smallest values are zero: `zeros` of every `of`, or a share of all.

    Of equal values those that come first go, zeros among them.
    """
    size = weight.abs().unflatten(1, (-1, of)) if of else weight.abs().flatten()
    gone = zeros if of else round(share * weight.numel())
    order = size.sort(dim=-1, stable=True).indices[..., :gone]
    mask = torch.zeros_like(size, dtype=torch.bool).scatter(-1, order, True)
    return weight.masked_fill(mask.reshape(weight.shape), 0)


def apply(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> dict[str, Any]:
    """Zero weights of `model` in place; what the checkpoint must show.

    Raises:
        HarnessError: see `zeroing.goal`.
    """
    goal = zeroing.goal(model, settings)
    for name, linear in masks.linears(model):
        weight = linear.weight.detach()
        linear.weight.data = zeroed(weight, goal.shares[name], goal.zeros, goal.of)
    return {"sparsity": zeroing.require(model, goal)}
