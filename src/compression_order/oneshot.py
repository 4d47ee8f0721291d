"""llm-compressor's one-shot methods on a model in memory; runs in the environment `quant`.

Its own data loading shuffles without a seed; here the windows go in as they lie, so that equal
inputs give equal bytes.
"""

import copy
import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from compression_order import calibration, chat, masks, packed, sparsity

# llm-compressor reads it when it is imported; a stage tells its own progress
os.environ["LLM_COMPRESSOR_LOG_LEVEL"] = "ERROR"
LIBRARIES = ("llmcompressor", "compressed-tensors")
IGNORED = ["re:.*lm_head"]  # the output head stays as it is


def run(model: PreTrainedModel, windows: Tensor, recipe: Sequence[Any]) -> PreTrainedModel:
    """A copy of a model after the modifiers of a recipe; the model itself stays as it is.

    Args:
        model: dense; calibration computes in its dtype.
        windows: [windows, length] token ids.
        recipe: llm-compressor's modifiers, in their order.
    """
    from llmcompressor import oneshot

    worked = copy.deepcopy(model)
    rows: Any = [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in windows]
    with TemporaryDirectory() as folder, _unpinned():
        # it looks there, and only there, whether the model is quantized already
        Path(folder, "config.json").write_text(json.dumps({"model_type": "llama"}))
        worked.config._name_or_path = folder
        oneshot(
            model=worked,
            processor=object(),  # the text is tokenized already
            recipe=list(recipe),
            dataset=DataLoader(rows, batch_size=1, shuffle=False),
            num_calibration_samples=len(rows),
        )
    return worked


def _unpinned() -> AbstractContextManager[Any]:
    """Without an accelerator there is no memory to pin, and torch refuses to try."""
    from llmcompressor.pipelines.cache import IntermediatesCache

    if torch.accelerator.is_available():
        return nullcontext()
    return patch.object(IntermediatesCache, "pin_memory", lambda *_, **__: None)


def _bf16(model: PreTrainedModel) -> PreTrainedModel:
    """A copy with its parameters in bf16; on CPUs that have it, calibration is four times faster.

    Buffers keep their dtype: rotary frequencies in bf16 would turn positions far from the first.
    """
    copied = copy.deepcopy(model)
    for parameter in copied.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    return copied


def _take_weights(model: PreTrainedModel, worked: PreTrainedModel) -> None:
    """Copy the weights of a worked copy back; changes `model`."""
    state = worked.state_dict()
    model.load_state_dict({name: state[name] for name in model.state_dict()})


def groups(group_size: int, symmetric: bool) -> dict[str, Any]:
    """The `config_groups` of llm-compressor's quantizing modifiers."""
    described = (
        packed.Packed(group_size, symmetric).scheme().model_dump(include={"targets", "weights"})
    )
    return {"group_0": described}


def quantize(
    model: PreTrainedModel,
    documents: Sequence[chat.Encoded],
    settings: Any,
    recipe: Callable[[Any], Sequence[Any]],
) -> tuple[packed.Packed, dict[str, Any]]:
    """Make `model` ready to be rounded, in place, by a recipe that quantizes.

    Args:
        model: dense, bf16; zeros of an earlier pruning stay zero in it.
        documents: the calibration split.
        settings: with `group_size`, `symmetric`, `seq_len` and `windows`.
        recipe: llm-compressor's modifiers, from the settings.

    Returns:
        The form with the grid of every linear, and what the checkpoint must show.

    Raises:
        HarnessError: the groups do not divide the columns, or the text is too short.
    """
    packed.require_groups(model, settings.group_size)
    windows = calibration.windows(documents, settings.seq_len, settings.windows)
    worked = run(model, windows, recipe(settings))
    grids = {
        name: (linear.weight_scale.detach().to(torch.bfloat16), linear.weight_zero_point.detach())
        for name, linear in masks.linears(worked)
    }
    _take_weights(model, worked)
    shown: dict[str, Any] = {"quantized_linears": len(grids)}
    pruned = masks.of(model)
    if pruned:
        shown["zeros_kept_by_method"] = masks.retention(pruned, model).record()["retained"]
        masks.restore(model)
    return packed.Packed(settings.group_size, settings.symmetric, grids), shown


def zero(
    model: PreTrainedModel,
    documents: Sequence[chat.Encoded],
    settings: Any,
    modifier: Callable[..., Any],
    **options: Any,
) -> dict[str, Any]:
    """Zero weights of `model` in place.

    Args:
        model: dense; calibration and solver start from bf16, the form in which it is stored.
        documents: the calibration split.
        settings: a `sparsity.Zeroing` with `seq_len` and `windows`.
        modifier: llm-compressor's class for the method.
        options: its arguments besides the share, the pattern and the linears.

    Returns:
        What the checkpoint must show.

    Raises:
        HarnessError: see `sparsity.goal`; or the text is too short.
    """
    goal = sparsity.goal(model, settings)
    windows = calibration.windows(documents, settings.seq_len, settings.windows)
    pruning = modifier(
        sparsity=list(goal.shares.values()),
        mask_structure=f"{goal.zeros}:{goal.of}",
        targets=list(goal.shares),
        **options,
    )
    _take_weights(model, run(_bf16(model), windows, [pruning]))
    return {"sparsity": sparsity.require(model, goal)}
