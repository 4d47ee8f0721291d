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

from compression_order.methods import zeroing
from compression_order.text import chat

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


def take_weights(model: PreTrainedModel, worked: PreTrainedModel) -> None:
    """Copy the weights of a worked copy back; changes `model`."""
    state = worked.state_dict()
    model.load_state_dict({name: state[name] for name in model.state_dict()})


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
        settings: those of the method.
        modifier: llm-compressor's class for the method.
        options: its arguments besides the share, the pattern and the linears.

    Returns:
        What the checkpoint must show.

    Raises:
        HarnessError: see `zeroing.goal`; or the text is too short.
    """
    goal = zeroing.goal(model, settings)
    windows = chat.windows(documents, settings.seq_len, settings.windows)
    pruning = modifier(
        sparsity=list(goal.shares.values()),
        mask_structure=f"{goal.zeros}:{goal.of}",
        targets=list(goal.shares),
        **options,
    )
    take_weights(model, run(_bf16(model), windows, [pruning]))
    return {"sparsity": zeroing.require(model, goal)}
