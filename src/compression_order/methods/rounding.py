"""4-bit codes by a recipe of llm-compressor, as GPTQ and AWQ make them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from compression_order.checkpoint import masks
from compression_order.checkpoint.forms import packed
from compression_order.methods import llm_compressor
from compression_order.methods.kinds import Packed
from compression_order.text import chat


def groups(group_size: int, symmetric: bool) -> dict[str, Any]:
    """The `config_groups` of llm-compressor's quantizing modifiers."""
    described = (
        packed.Packed(group_size, symmetric).scheme().model_dump(include={"targets", "weights"})
    )
    return {"group_0": described}


def quantize(
    model: PreTrainedModel,
    documents: Sequence[chat.Encoded],
    settings: Packed,
    recipe: Callable[[Any], Sequence[Any]],
) -> tuple[packed.Packed, dict[str, Any]]:
    """Make `model` ready to be rounded, in place, by a recipe that quantizes.

    Args:
        model: dense, bf16; zeros of an earlier pruning stay zero in it.
        documents: the calibration split.
        settings: the grid and the text.
        recipe: llm-compressor's modifiers, from the settings.

    Returns:
        The form with the grid of every linear, and what the checkpoint must show.

    Raises:
        HarnessError: the groups do not divide the columns, or the text is too short.
    """
    packed.require_groups(model, settings.group_size)
    windows = chat.windows(documents, settings.seq_len, settings.windows)
    worked = llm_compressor.run(model, windows, recipe(settings))
    grids = {
        name: (linear.weight_scale.detach().to(torch.bfloat16), linear.weight_zero_point.detach())
        for name, linear in masks.linears(worked)
    }
    llm_compressor.take_weights(model, worked)
    shown: dict[str, Any] = {"quantized_linears": len(grids)}
    pruned = masks.of(model)
    if pruned:
        shown["zeros_kept_by_method"] = masks.retention(pruned, model).record()["retained"]
        masks.restore(model)
    return packed.Packed(settings.group_size, settings.symmetric, grids), shown
