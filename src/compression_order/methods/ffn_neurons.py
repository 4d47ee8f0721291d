"""Structured pruning of feed-forward neurons: the same ratio in every layer.

A neuron j of a gated feed-forward block is row j of `gate_proj` and `up_proj` and column j of
`down_proj`; the lowest scores go, and the width is what is left, rounded to a multiple that
the hardware likes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from compression_order import chat, formulas, training


@dataclass(frozen=True)
class Settings:
    """Which neurons go, and the fine-tuning that follows."""

    ratio: float = 0.25
    score: str = "wanda"
    round_to: int = 64
    calibration_batch: int = 4
    seq_len: int = 256
    recovery: training.Training = field(default_factory=training.Training)


def blocks(model: PreTrainedModel) -> list[Any]:
    """The gated feed-forward block of every layer, in order."""
    return [layer.mlp for layer in model.base_model.layers]


def activation_norms(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], size: int
) -> list[Tensor]:
    """The L2 norm of each neuron's activation (input of `down_proj`) over the calibration tokens.

    Padding does not count. Returns one [width] float32 tensor a layer.
    """
    sums = [torch.zeros(b.down_proj.in_features) for b in blocks(model)]

    def observer(layer: int) -> Callable[..., None]:
        def observe(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            sums[layer] += inputs[0][real].float().square().sum(0)

        return observe

    hooks = [
        b.down_proj.register_forward_pre_hook(observer(i)) for i, b in enumerate(blocks(model))
    ]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for begin in range(0, len(documents), size):
            batch = chat.batch(documents[begin : begin + size], 0)
            real = batch.attention.bool()
            training.hidden_states(model, batch)
    for hook in hooks:
        hook.remove()
    return [s.sqrt() for s in sums]


def wanda_scores(model: PreTrainedModel, norms: Sequence[Tensor]) -> list[Tensor]:
    """Score of neuron j = ||activation_j||_2 * ||column j of down_proj||_2, one [width] a layer.

    The score of Wanda (Sun et al. 2024, arXiv 2306.11695, equation 1), summed over the column
    in the L2 sense: the size of what the neuron adds to the residual stream.
    """
    columns = [b.down_proj.weight.detach().float().norm(dim=0) for b in blocks(model)]
    return [norm * column for norm, column in zip(norms, columns, strict=True)]


def magnitude_scores(model: PreTrainedModel) -> list[Tensor]:
    """Score of neuron j = L2 norm of all its weights, in the three projections."""
    return [
        (
            b.gate_proj.weight.detach().float().square().sum(1)
            + b.up_proj.weight.detach().float().square().sum(1)
            + b.down_proj.weight.detach().float().square().sum(0)
        ).sqrt()
        for b in blocks(model)
    ]


def scores(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> list[Tensor]:
    """The score of every neuron, one [width] tensor a layer; higher stays."""
    if settings.score == "magnitude":
        return magnitude_scores(model)
    return wanda_scores(model, activation_norms(model, documents, settings.calibration_batch))


def cut(model: PreTrainedModel, ranking: Sequence[Tensor], width: int) -> None:
    """Keep the `width` best neurons of every layer, in their old order; changes the model."""
    for block, score in zip(blocks(model), ranking, strict=True):
        kept = score.topk(width).indices.sort().values
        _slice(block.gate_proj, kept, 0)
        _slice(block.up_proj, kept, 0)
        _slice(block.down_proj, kept, 1)
        if hasattr(block, "intermediate_size"):
            block.intermediate_size = width
    model.config.intermediate_size = width


def _slice(linear: Any, kept: Tensor, dim: int) -> None:
    linear.weight = nn.Parameter(linear.weight.detach().index_select(dim, kept))
    if dim == 0:
        linear.out_features = len(kept)
        if linear.bias is not None:
            linear.bias = nn.Parameter(linear.bias.detach().index_select(0, kept))
    else:
        linear.in_features = len(kept)


def apply(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> dict[str, Any]:
    """Prune `model` in place.

    Args:
        model: dense, any dtype.
        documents: the calibration split.
        settings: ratio, score, rounding.

    Returns:
        What the checkpoint must show: the FFN width of every layer.
    """
    width = formulas.kept_width(model.config.intermediate_size, settings.ratio, settings.round_to)
    cut(model, scores(model, documents, settings), width)
    return {"ffn_widths": [width] * len(blocks(model))}
