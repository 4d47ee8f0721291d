"""ShortGPT: remove the decoder layers that change their input least, in one shot.

Men et al. 2024 (arXiv 2403.03853, section 3.2). The Block Influence of layer i is
1 - mean over tokens of cos(h_i, h_{i+1}), h_i being what enters the layer and h_{i+1} what
leaves it, residual included. All influences come from one pass over the uncut model.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from compression_order.architecture import cuts
from compression_order.checkpoint import models
from compression_order.common import arithmetic
from compression_order.methods.shortgpt.settings import Settings
from compression_order.text import chat
from compression_order.training import loop


def block_influence(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], batch_size: int
) -> list[float]:
    """1 - mean cosine between what enters and what leaves a layer, one number a layer, 0 to 2.

    Padding does not count; the mean is over all tokens of all documents.
    """
    layers = model.base_model.layers
    sums, tokens = torch.zeros(len(layers), dtype=torch.float64), 0

    def observer(layer: int) -> Callable[..., None]:
        def observe(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            entered, left = inputs[0][real].float(), output[real].float()
            sums[layer] += F.cosine_similarity(entered, left, dim=-1).double().sum().cpu()

        return observe

    hooks = [layer.register_forward_hook(observer(i)) for i, layer in enumerate(layers)]
    with torch.no_grad(), arithmetic.products(model.device.type):
        for begin in range(0, len(documents), batch_size):
            batch = chat.batch(documents[begin : begin + batch_size], 0).to(model.device)
            real = batch.attention.bool()
            tokens += int(real.sum())
            loop.hidden_states(model, batch)
    for hook in hooks:
        hook.remove()
    influences: list[float] = (1 - sums / tokens).tolist()
    return influences


def keep(model: PreTrainedModel, kept: Sequence[int]) -> None:
    """Keep these layers in their order; changes the model, its layer numbers and configuration."""
    model.base_model.layers = nn.ModuleList([model.base_model.layers[i] for i in kept])
    types = getattr(model.config, "layer_types", None)
    if types is not None:
        model.config.layer_types = [types[i] for i in kept]
    models.restate(model)


def apply(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> dict[str, Any]:
    """Prune `model` in place.

    Args:
        model: dense, any dtype.
        documents: the calibration split.
        settings: how many layers, and how many of the documents.

    Returns:
        What the checkpoint must show, and for the record which layers of the parent went and the
        influence of every one of them.

    Raises:
        HarnessError: no layer would go, or all.
    """
    layers = len(model.base_model.layers)
    gone = cuts.layers_gone(layers, settings.layers, settings.ratio)
    chosen = documents[: settings.samples or None]
    influence = block_influence(model, chosen, settings.calibration_batch)
    ranked = sorted(range(layers), key=lambda i: influence[i])
    kept = sorted(ranked[gone:])
    expected = cuts.layers(models.architecture(model), kept)
    keep(model, kept)
    record = {"removed_layers": sorted(ranked[:gone]), "block_influence": influence}
    return {**expected.described(), **record}
