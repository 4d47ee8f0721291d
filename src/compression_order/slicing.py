"""Linears and norms with fewer rows, columns or channels; what stays keeps its bytes and order."""

from typing import Any

from torch import Tensor, nn

from compression_order import masks


def rows(linear: Any, kept: Tensor) -> None:
    """Keep these outputs of a linear, its bias included; changes it."""
    _select(linear, kept, 0)
    linear.out_features = len(kept)
    if linear.bias is not None:
        linear.bias = _kept(linear.bias, kept, 0)


def columns(linear: Any, kept: Tensor) -> None:
    """Keep these inputs of a linear; changes it."""
    _select(linear, kept, 1)
    linear.in_features = len(kept)


def channels(module: Any, kept: Tensor) -> None:
    """Keep these channels of an embedding or a norm; changes it."""
    module.weight = _kept(module.weight, kept, module.weight.dim() - 1)
    if isinstance(module, nn.Embedding):
        module.embedding_dim = len(kept)


def _select(linear: Any, kept: Tensor, dim: int) -> None:
    linear.weight = _kept(linear.weight, kept, dim)
    masks.select(linear, kept, dim)


def _kept(tensor: Tensor, kept: Tensor, dim: int) -> nn.Parameter:
    return nn.Parameter(tensor.detach().index_select(dim, kept))
