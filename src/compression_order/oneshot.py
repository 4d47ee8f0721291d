"""llm-compressor's one-shot methods on a model in memory; runs in the environment `quant`.

Its own data loading shuffles without a seed; here the windows go in as they lie, so that equal
inputs give equal bytes.
"""

import copy
import json
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from compression_order import masks, packed

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


def bf16(model: PreTrainedModel) -> PreTrainedModel:
    """A copy in bf16; on CPUs that have it, calibration is about four times faster so."""
    copied: PreTrainedModel = copy.deepcopy(model).to(torch.bfloat16)
    return copied


def take_weights(model: PreTrainedModel, worked: PreTrainedModel) -> None:
    """Copy the weights of a worked copy back; changes `model`."""
    state = worked.state_dict()
    model.load_state_dict({name: state[name] for name in model.state_dict()})


def groups(group_size: int, symmetric: bool) -> dict[str, Any]:
    """The `config_groups` of llm-compressor's quantizing modifiers."""
    described = (
        packed.Packed(group_size, symmetric).scheme().model_dump(include={"targets", "weights"})
    )
    return {"group_0": described}


def calibrated(
    model: PreTrainedModel, worked: PreTrainedModel, settings: Any
) -> tuple[packed.Packed, dict[str, Any]]:
    """Take weights and grids from a model that llm-compressor quantized; changes `model`.

    Args:
        model: what it was made from; zeros of an earlier pruning stay zero in it.
        worked: as `run` returns it.
        settings: with `group_size` and `symmetric`.

    Returns:
        The form, and what the checkpoint must show.
    """
    grids = {
        name: (linear.weight_scale.detach().to(torch.bfloat16), linear.weight_zero_point.detach())
        for name, linear in masks.linears(worked)
    }
    take_weights(model, worked)
    shown: dict[str, Any] = {"quantized_linears": len(grids)}
    pruned = masks.of(model)
    if pruned:
        shown["zeros_kept_by_method"] = masks.retention(pruned, model).record()["retained"]
        masks.restore(model)
    return packed.Packed(settings.group_size, settings.symmetric, grids), shown
