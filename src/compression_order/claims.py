"""A stage proves what it claims, on the checkpoint as stored, before anyone can read it.

A claim that fails is a failed job, with one sentence that names the number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from compression_order import formulas, parents, sizes
from compression_order.errors import HarnessError
from compression_order.methods import nf4


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
    """

    prompts: Tensor
    attention: Tensor
    new_tokens: int
    max_degenerate: float
    pad: int


def prove(
    folder: Path,
    name: str,
    quantization: nf4.Settings | None,
    expected: Mapping[str, Any],
    probe: Probe,
) -> dict[str, Any]:
    """Check a stored checkpoint against what its stage claims.

    Args:
        folder: the checkpoint, complete but for its manifest.
        name: the pipeline, for messages.
        quantization: how it is quantized, or None.
        expected: claim -> value, as the method returned them; a name that `measured` does not
            know is a record, not a claim to check here.
        probe: prompts and limits.

    Returns:
        The entries of the manifest: format, parameters, bytes, architecture, claims.

    Raises:
        ClaimError: a claim does not hold.
    """
    model = parents.dense(folder, torch.bfloat16, quantized=quantization is not None)
    architecture = describe(model)
    quantized_linears = _quantized_linears(folder, name, probe) if quantization else 0
    seen = {**architecture, "quantized_linears": quantized_linears}
    for claim, value in expected.items():
        if claim in seen and seen[claim] != value:
            raise ClaimError(f"{name}: {claim} is {seen[claim]}, the stage claims {value}")
    with torch.no_grad():
        require_finite(model(probe.prompts, attention_mask=probe.attention).logits, name)
    share = degenerate_share(model, probe)
    if share > probe.max_degenerate:
        raise ClaimError(
            f"{name}: {share:.0%} of the greedy answers are empty or one repeated token, "
            f"more than max_degenerate allows ({probe.max_degenerate:.0%})"
        )
    return {
        "format": nf4.FORMAT if quantization else "dense",
        "parameters": count(model),
        "bytes": prove_size(folder, name, quantization),
        "architecture": architecture,
        "claims": {**expected, "finite_logits": True, "degenerate_share": share},
    }


def describe(model: PreTrainedModel) -> dict[str, Any]:
    """Layers, widths and heads, read off the weights rather than the configuration."""
    config = model.config
    return {
        "layers": len(model.base_model.layers),
        "ffn_widths": [layer.mlp.down_proj.in_features for layer in model.base_model.layers],
        "attention_heads": config.num_attention_heads,
        "key_value_heads": config.num_key_value_heads,
        "hidden_size": config.hidden_size,
    }


def count(model: PreTrainedModel) -> dict[str, int]:
    """Parameters, a tied embedding counted once: all, and those that are not zero."""
    weights = list(model.parameters())
    return {
        "total": sum(w.numel() for w in weights),
        "nonzero": sum(int(w.count_nonzero()) for w in weights),
    }


def prove_size(folder: Path, name: str, quantization: nf4.Settings | None) -> dict[str, int]:
    """The bytes on disk must be the formula's plus header and metadata, to the byte.

    Raises:
        ClaimError: they are not.
    """
    stored = sizes.stored_bytes(folder / parents.WEIGHTS)
    shape = sizes.shape_of(_dense_config(folder))
    if quantization:
        analytic = formulas.nf4_bytes(shape, quantization.double_quant)
    else:
        analytic = formulas.dense_bytes(shape)
    if stored.weights != analytic:
        raise ClaimError(
            f"{name}: {parents.WEIGHTS} holds {stored.weights} bytes of weights, the formula "
            f"gives {analytic}"
        )
    return {
        "model": stored.file,
        "analytic": analytic,
        "header": stored.header,
        "metadata": stored.metadata,
    }


def _dense_config(folder: Path) -> Any:
    config = AutoConfig.from_pretrained(folder)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    return config


def require_finite(logits: Tensor, name: str) -> None:
    """Raise ClaimError unless every logit is finite."""
    broken = int((~logits.isfinite()).sum())
    if broken:
        raise ClaimError(f"{name}: {broken} of {logits.numel()} logits are not finite")


def _quantized_linears(folder: Path, name: str, probe: Probe) -> int:
    """Load the 4-bit checkpoint as a user would; its own kernels must give finite logits."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        require_finite(model(probe.prompts[:1, -8:]).logits, name)
    head = model.get_output_embeddings()
    linears = [m for m in model.modules() if isinstance(m, nn.Linear) and m is not head]
    return sum(type(m).__name__ == "Linear4bit" for m in linears)


def degenerate_share(model: PreTrainedModel, probe: Probe) -> float:
    """The share of greedy answers that are empty or repeat one token."""
    with torch.no_grad():
        answers = model.generate(
            probe.prompts,
            attention_mask=probe.attention,
            max_new_tokens=probe.new_tokens,
            do_sample=False,
            pad_token_id=probe.pad,
        )[:, probe.prompts.shape[1] :]
    return sum(_degenerate(answer, probe.pad) for answer in answers.tolist()) / len(answers)


def _degenerate(answer: list[int], pad: int) -> bool:
    words = [token for token in answer if token != pad]
    return not words or (len(words) > 2 and len(set(words)) == 1)
