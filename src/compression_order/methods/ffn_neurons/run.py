"""Structured pruning of feed-forward neurons: the same ratio in every layer.

A neuron j of a gated feed-forward block is row j of `gate_proj` and `up_proj` and column j of
`down_proj`; the lowest scores go, and the width left is rounded to what the hardware likes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from compression_order.architecture import cuts
from compression_order.checkpoint import models
from compression_order.common import arithmetic
from compression_order.common.errors import HarnessError
from compression_order.methods.ffn_neurons.settings import Settings
from compression_order.text import chat
from compression_order.training import loop


def blocks(model: PreTrainedModel) -> list[Any]:
    """The gated feed-forward block of every layer, in order."""
    return [layer.mlp for layer in model.base_model.layers]


def summed(
    model: PreTrainedModel,
    documents: Sequence[chat.Encoded],
    settings: Settings,
    projection: str,
    measure: Callable[[Tensor, Tensor], Tensor],
) -> list[Tensor]:
    """Sum a measure of one projection over the calibration tokens.

    Args:
        model: dense.
        documents: the calibration split.
        settings: conversations a batch; padding counts only where they say so.
        projection: name of a linear of the feed-forward block.
        measure: input and output of that linear, [tokens, width] each -> [tokens, columns].

    Returns:
        One [columns] tensor a layer, in the dtype of the measure.
    """
    layers = blocks(model)
    sums: list[Any] = [0.0] * len(layers)

    def observer(layer: int) -> Callable[..., None]:
        def observe(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen = measure(inputs[0][counted].float(), output[counted].float())
            sums[layer] = sums[layer] + seen.sum(0)

        return observe

    hooks = [
        getattr(block, projection).register_forward_hook(observer(i))
        for i, block in enumerate(layers)
    ]
    size = settings.calibration_batch
    with torch.no_grad(), arithmetic.products(model.device.type):
        for begin in range(0, len(documents), size):
            batch = chat.batch(documents[begin : begin + size], 0).to(model.device)
            counted = batch.attention.bool() | settings.count_padding
            loop.hidden_states(model, batch)
    for hook in hooks:
        hook.remove()
    return sums


def activation_norms(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> list[Tensor]:
    """The L2 norm of each neuron's activation (input of `down_proj`) over the calibration tokens.

    Padding counts only where the settings say so. Returns one [width] float32 tensor a layer.
    """
    squares = summed(model, documents, settings, "down_proj", lambda x, _: x.square())
    return [s.sqrt() for s in squares]


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


def paper_scores(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> list[Tensor]:
    """Score of neuron j = w_j / (2 max w) + a_j / (2 max a), the maxima over its layer.

    The published score of arXiv 2511.19495, quirks included: w_j is the L1 norm of row j of
    `gate_proj` and `up_proj` (`down_proj` has no say), a_j the mean absolute output of
    `gate_proj` before its activation function.
    """
    before = summed(model, documents, settings, "gate_proj", lambda _, y: y.abs())
    weights = [
        sum(p.weight.detach().float().abs().sum(1) for p in (b.gate_proj, b.up_proj))
        for b in blocks(model)
    ]
    return [w / (2 * w.max()) + a / (2 * a.max()) for w, a in zip(weights, before, strict=True)]


def moments(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> list[tuple[Tensor, Tensor]]:
    """Mean and sample variance of each neuron's activation over the calibration tokens.

    Returns two [width] float32 tensors a layer.
    """

    def measure(x: Tensor, _: Tensor) -> Tensor:
        wide = x.double()
        return torch.cat([torch.ones_like(wide[:, :1]), wide, wide.square()], 1)

    found = []
    for sums in summed(model, documents, settings, "down_proj", measure):
        tokens, (first, second) = sums[0], sums[1:].chunk(2)
        variance = (second - first.square() / tokens) / (tokens - 1)
        found.append(((first / tokens).float(), variance.clamp_min(0).float()))
    return found


def flap_scores(model: PreTrainedModel, variances: Sequence[Tensor]) -> list[Tensor]:
    """Score of neuron j = variance of its activation * ||column j of down_proj||_2^2.

    The weighted fluctuation of FLAP (An et al. 2024, arXiv 2312.11983, equation 5): a neuron that
    hardly varies can be replaced by its mean, which `compensate` does. The width is the same in
    every layer here; FLAP's own search over layers is left out.
    """
    columns = [b.down_proj.weight.detach().float().square().sum(0) for b in blocks(model)]
    return [var * column for var, column in zip(variances, columns, strict=True)]


def random_scores(model: PreTrainedModel) -> list[Tensor]:
    """A uniform draw of the stage's seed: the floor that every other score must beat."""
    generator = torch.Generator().manual_seed(torch.initial_seed())
    widths = [b.down_proj.in_features for b in blocks(model)]
    return [torch.rand(width, generator=generator).to(model.device) for width in widths]


def scores(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> list[Tensor]:
    """The score of every neuron, one [width] tensor a layer; higher stays."""
    if settings.score == "magnitude":
        return magnitude_scores(model)
    if settings.score == "paper":
        return paper_scores(model, documents, settings)
    if settings.score == "random":
        return random_scores(model)
    if settings.score == "flap":
        return flap_scores(model, [variance for _, variance in moments(model, documents, settings)])
    return wanda_scores(model, activation_norms(model, documents, settings))


def cut(
    model: PreTrainedModel,
    ranking: Sequence[Tensor],
    widths: Sequence[int],
    means: Sequence[Tensor] | None = None,
) -> None:
    """Keep the best neurons of every layer, in their old order; changes the model.

    Args:
        model: dense.
        ranking: the score of every neuron, one [width] tensor a layer.
        widths: how many stay, one a layer.
        means: the mean activation of every neuron; the removed ones' share of the output becomes
            a bias of `down_proj` (An et al. 2024, equation 4). None: no bias.
    """
    for layer, (block, score) in enumerate(zip(blocks(model), ranking, strict=True)):
        kept = score.topk(widths[layer]).indices.sort().values
        if means:
            gone = torch.ones_like(score, dtype=torch.bool).index_fill(0, kept, False)
            _compensate(block, gone, means[layer])
        models.keep_rows(block.gate_proj, kept)
        models.keep_rows(block.up_proj, kept)
        models.keep_columns(block.down_proj, kept)
    models.restate(model)


def _compensate(block: Any, gone: Tensor, mean: Tensor) -> None:
    """Add what the removed neurons give on average; `gone` is true for those, [width]."""
    for linear in (block.gate_proj, block.up_proj, block.down_proj):
        if linear.bias is None:  # Llama's configuration knows biases for all three or for none
            linear.bias = nn.Parameter(linear.weight.new_zeros(linear.out_features))
    with torch.no_grad():
        added = block.down_proj.weight[:, gone].float() @ mean[gone]
        block.down_proj.bias += added.to(block.down_proj.bias.dtype)


def means_of(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> list[Tensor] | None:
    """The mean activation of every neuron where the removed ones are compensated, else None.

    Raises:
        HarnessError: the model has no place for the biases.
    """
    if not settings.compensate:
        return None
    if not hasattr(model.config, "mlp_bias"):
        raise HarnessError(
            f"compensate: true gives down_proj a bias, for which a {model.config.model_type} model "
            "has no place; set compensate: false"
        )
    return [mean for mean, _ in moments(model, documents, settings)]


def apply(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> dict[str, Any]:
    """Prune `model` in place.

    Args:
        model: dense, any dtype.
        documents: the calibration split.
        settings: ratio, score, rounding.

    Returns:
        What the checkpoint must show: the FFN width of every layer, and its biases if it got them.

    Raises:
        HarnessError: nothing would go or be left, or there is no place for biases.
    """
    after = cuts.neurons(models.architecture(model), settings.ratio, settings.round_to)
    widths = [block.ffn for block in after.blocks]
    means = means_of(model, documents, settings)
    cut(model, scores(model, documents, settings), widths, means)
    return {"ffn_widths": widths, **({"mlp_bias": True} if means else {})}
