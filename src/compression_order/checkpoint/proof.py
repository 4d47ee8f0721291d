"""A stage proves what it claims, on the checkpoint as stored, before anyone can read it.

A claim that fails is a failed job, with one sentence that names the number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from compression_order.architecture import storage
from compression_order.architecture.shapes import Architecture
from compression_order.checkpoint import adapters, disk, masks, models
from compression_order.checkpoint.forms import Form
from compression_order.checkpoint.stored import CPU, WEIGHTS, WITH_ADAPTER, Checkpoint
from compression_order.common.errors import HarnessError

LOADER = "compression_order.loading"  # rebuilds what plain transformers refuses


class ClaimError(HarnessError):
    """A checkpoint is not what its stage says it is."""


@dataclass(frozen=True)
class Probe:
    """What a checkpoint must answer to.

    Attributes:
        prompts: [prompts, length] token ids, padded on the left.
        attention: the same shape, 1 on real tokens.
        new_tokens: greedy tokens to generate for each.
        max_degenerate: the largest tolerated share of degenerate answers, 0 to 1.
        pad: the id that pads.
        device: where the checkpoint is asked.
    """

    prompts: Tensor
    attention: Tensor
    new_tokens: int
    max_degenerate: float
    pad: int
    device: torch.device = CPU


@dataclass(frozen=True)
class Before:
    """What earlier stages made.

    Attributes:
        architecture: the parent's, as in its manifest.
        masks: linear -> [outputs, inputs], true where a weight was pruned to zero, cut as the
            stage cut the weight.
    """

    architecture: Mapping[str, Any]
    masks: Mapping[str, Tensor]


def prove(
    folder: Path,
    name: str,
    form: Form | None,
    expected: Mapping[str, Any],
    before: Before,
    probe: Probe,
) -> dict[str, Any]:
    """Check a stored checkpoint against what its stage claims.

    Args:
        folder: the checkpoint, complete but for its manifest.
        name: the pipeline, for messages.
        form: how it is quantized, or None.
        expected: claim -> value, as the method returned them; a name that `measured` does not
            know is a record, not a claim to check here.
        before: what earlier stages made, which holds still where the stage claims nothing else.
        probe: prompts and limits.

    Returns:
        The entries of the manifest: format, parameters, bytes, architecture, claims.

    Raises:
        ClaimError: a claim does not hold.
    """
    checkpoint = Checkpoint(folder)
    require_form(form, checkpoint.form, name)
    model = checkpoint.model(torch.bfloat16, probe.device)
    shape, adapter = models.architecture(model), adapters.parameters(model)
    quantized_linears = _quantized_linears(checkpoint, name, probe)
    _require({**_all_of(shape), "quantized_linears": quantized_linears}, expected, before, name)
    require_adapter(expected.get("adapter"), adapter, name)
    retained = require_zeros(before.masks, model, name)
    require_sparsity(expected.get("sparsity"), model, name)
    with torch.no_grad():
        asked, attention = probe.prompts.to(probe.device), probe.attention.to(probe.device)
        require_finite(model(asked, attention_mask=attention).logits, name)
    share = degenerate_share(model, probe)
    if share > probe.max_degenerate:
        raise ClaimError(
            f"{name}: {share:.0%} of the greedy answers are empty or one repeated token, "
            f"more than max_degenerate allows ({probe.max_degenerate:.0%})"
        )
    return {
        "format": (form.format if form else "dense") + (WITH_ADAPTER if adapter else ""),
        "parameters": count(model),
        "bytes": prove_size(checkpoint, name, adapter),
        "architecture": shape.described(),
        "claims": {**expected, **retained, "finite_logits": True, "degenerate_share": share},
        **({} if checkpoint.is_plain else {"loader": LOADER}),
    }


def require_form(claimed: Form | None, stored: Form | None, name: str) -> None:
    """Raise ClaimError unless a checkpoint is quantized as its stage claims."""
    wanted, found = (its and (its.format, its.record()) for its in (claimed, stored))
    if found != wanted:
        raise ClaimError(f"{name}: it is stored as {found}, the stage claims {wanted}")


def _all_of(shape: Architecture) -> dict[str, Any]:
    """An architecture with what its manifest leaves unsaid."""
    return {"head_dim": shape.head_dim, "mlp_bias": shape.mlp_bias, **shape.described()}


def _require(
    seen: Mapping[str, Any], expected: Mapping[str, Any], before: Before, name: str
) -> None:
    for claim, value in expected.items():
        if claim in seen and seen[claim] != value:
            raise ClaimError(f"{name}: {claim} is {seen[claim]}, the stage claims {value}")
    for claim, value in before.architecture.items():
        if claim not in expected and seen[claim] != value:
            raise ClaimError(
                f"{name}: {claim} is {seen[claim]}, its parent's is {value} and the stage does not "
                "claim to change it"
            )


def require_zeros(
    kept: Mapping[str, Tensor], model: PreTrainedModel, name: str
) -> dict[str, dict[str, float | int]]:
    """The record of the zeros that earlier stages made; empty where they made none.

    Raises:
        ClaimError: one of them is no longer zero.
    """
    if not kept:
        return {}
    found = masks.retention(kept, model)
    if found.zero != found.masked:
        raise ClaimError(
            f"{name}: {found.zero} of the {found.masked} weights that were pruned to zero are "
            f"still zero ({found.zero / found.masked:.1%})"
        )
    return {"zeros": found.record()}


def require_sparsity(claimed: Mapping[str, Any] | None, model: PreTrainedModel, name: str) -> None:
    """Raise ClaimError where a stored linear has fewer zeros than the stage claims.

    It may have more: quantization rounds small weights to zero.
    """
    if not claimed:
        return
    for bound, share in masks.shares(model).items():
        if share < claimed[bound]:
            raise ClaimError(
                f"{name}: the {bound} share of zeros in a linear is {share}, the stage claims "
                f"{claimed[bound]}"
            )


def require_adapter(claimed: Mapping[str, Any] | None, found: int, name: str) -> None:
    """Raise ClaimError unless a stored adapter has the parameters that the stage claims."""
    wanted = claimed["parameters"] if claimed else 0
    if found != wanted:
        raise ClaimError(f"{name}: the adapter has {found} parameters, the stage claims {wanted}")


def describe(model: PreTrainedModel) -> dict[str, Any]:
    """Layers, widths and heads, read off the weights rather than the configuration."""
    return models.architecture(model).described()


def count(model: PreTrainedModel) -> dict[str, int]:
    """Parameters, a tied embedding counted once: all, and those that are not zero."""
    weights = list(model.parameters())
    return {
        "total": sum(w.numel() for w in weights),
        "nonzero": sum(int(w.count_nonzero()) for w in weights),
    }


def prove_size(checkpoint: Checkpoint, name: str, adapter: int = 0) -> dict[str, int]:
    """The bytes on disk must be the formula's plus header and metadata, to the byte.

    An adapter of `adapter` parameters lies in a file of its own, which counts as well.

    Raises:
        ClaimError: they are not.
    """
    names = [WEIGHTS, *([adapters.WEIGHTS] if adapter else [])]
    stored = disk.stored_bytes(*(checkpoint.folder / file for file in names))
    shape = disk.shape_of(checkpoint.config)
    form = checkpoint.form
    analytic = form.analytic(shape) if form else storage.dense_bytes(shape)
    analytic += storage.BF16 * adapter
    if stored.weights != analytic:
        raise ClaimError(
            f"{name}: {' and '.join(names)} hold(s) {stored.weights} bytes of weights, the formula "
            f"gives {analytic}"
        )
    return {
        "model": stored.file,
        "analytic": analytic,
        "header": stored.header,
        "metadata": stored.metadata,
    }


def require_finite(logits: Tensor, name: str) -> None:
    """Raise ClaimError unless every logit is finite."""
    broken = int((~logits.isfinite()).sum())
    if broken:
        raise ClaimError(f"{name}: {broken} of {logits.numel()} logits are not finite")


def _quantized_linears(checkpoint: Checkpoint, name: str, probe: Probe) -> int:
    """Load a quantized checkpoint as a user would; its own kernels must give finite logits."""
    if checkpoint.form is None:
        return 0
    model = checkpoint.served()
    with torch.no_grad():
        require_finite(model(probe.prompts[:1, -8:].to(model.device)).logits, name)
    return checkpoint.form.linears(model, checkpoint.weights)


def degenerate_share(model: PreTrainedModel, probe: Probe) -> float:
    """The share of greedy answers that are empty or repeat one token."""
    with torch.no_grad():
        answers = model.generate(
            probe.prompts.to(probe.device),
            attention_mask=probe.attention.to(probe.device),
            max_new_tokens=probe.new_tokens,
            do_sample=False,
            pad_token_id=probe.pad,
        )[:, probe.prompts.shape[1] :]
    return sum(_degenerate(answer, probe.pad) for answer in answers.tolist()) / len(answers)


def _degenerate(answer: list[int], pad: int) -> bool:
    return repeats_one_token([token for token in answer if token != pad])


def repeats_one_token(answer: list[int]) -> bool:
    """Whether an answer is empty, or one token over and over."""
    return not answer or (len(answer) > 2 and len(set(answer)) == 1)
