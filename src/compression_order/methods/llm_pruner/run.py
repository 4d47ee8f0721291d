"""LLM-Pruner: remove coupled groups of weights by their first-order Taylor importance.

Ma et al. 2023 (arXiv 2305.11627, sections 3.1 and 3.2; `param_first` of their code, groups
summed). Weights that only work together form a group: a key/value head with the query heads that
share it (rows of `q_proj`, `k_proj`, `v_proj`, columns of `o_proj`); a feed-forward neuron (rows
of `gate_proj`, `up_proj`, a column of `down_proj`); a hidden channel (a column of the embedding
and of every linear that reads the residual stream, a row of every linear that writes to it, one
weight of every norm). A group's importance is the sum of |weight * gradient| over its weights,
the gradient that of the mean next-token loss on a few samples of calibration text.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from compression_order.architecture import cuts
from compression_order.architecture.shapes import Architecture, Block
from compression_order.checkpoint import models
from compression_order.common import process
from compression_order.common.errors import HarnessError
from compression_order.methods.llm_pruner.settings import Settings
from compression_order.text import chat


def samples(documents: Sequence[chat.Encoded], settings: Settings) -> list[chat.Encoded]:
    """The first documents that fill `seq_len` tokens.

    Raises:
        HarnessError: there are fewer than `samples` of them.
    """
    whole = [d for d in documents if len(d.ids) == settings.seq_len]
    if len(whole) < settings.samples:
        raise HarnessError(
            f"the calibration split has {len(whole)} conversations of at least seq_len "
            f"{settings.seq_len} tokens, fewer than samples {settings.samples}; lower one of them "
            "or enlarge the split"
        )
    return whole[: settings.samples]


def differentiate(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], batch_size: int
) -> None:
    """Leave in every parameter's `grad` the gradient of the mean loss a token.

    Args:
        model: any floating dtype; it computes in its own.
        documents: all of one length, so that the mean over batches is that over tokens.
        batch_size: documents a pass: memory, not result.
    """
    model.zero_grad(set_to_none=True)
    for begin in range(0, len(documents), batch_size):
        chosen = documents[begin : begin + batch_size]
        ids = chat.batch(chosen, 0).to(model.device).ids
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        (loss * (len(chosen) / len(documents))).backward()


def salience(*tensors: Tensor | None) -> Tensor:
    """|weight * gradient| of parameters laid end to end along their first axis; None counts not."""
    found = [(t.detach() * t.grad).abs() for t in tensors if t is not None and t.grad is not None]
    return torch.cat(found)


def outputs(*linears: Any) -> Tensor:
    """The salience of each output of linears of one width, summed: [outputs]."""
    rows = [salience(linear.weight).sum(1) for linear in linears]
    biases = [salience(linear.bias) for linear in linears if linear.bias is not None]
    return torch.stack(rows + biases).sum(0)


def inputs(*linears: Any) -> Tensor:
    """The salience of each input of linears (or channel of an embedding), summed: [inputs]."""
    return torch.stack([salience(linear.weight).sum(0) for linear in linears]).sum(0)


def head_importance(layer: Any, heads: int) -> Tensor:
    """[key/value heads]: each with the query heads that share it."""
    attention = layer.self_attn
    queries = outputs(attention.q_proj) + inputs(attention.o_proj)
    shared = outputs(attention.k_proj, attention.v_proj)
    return queries.view(heads, -1).sum(1) + shared.view(heads, -1).sum(1)


def neuron_importance(layer: Any) -> Tensor:
    """[feed-forward neurons]."""
    return outputs(layer.mlp.gate_proj, layer.mlp.up_proj) + inputs(layer.mlp.down_proj)


def _readers(layer: Any) -> list[Any]:
    attention, mlp = layer.self_attn, layer.mlp
    return [attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj]


def _writers(layer: Any) -> list[Any]:
    return [layer.self_attn.o_proj, layer.mlp.down_proj]


def _norms(model: PreTrainedModel) -> list[Any]:
    layers = model.base_model.layers
    pairs = [norm for la in layers for norm in (la.input_layernorm, la.post_attention_layernorm)]
    return [*pairs, model.base_model.norm]


def _ends(model: PreTrainedModel, tied: bool) -> list[Any]:
    """The embedding, and the output head where it is another."""
    embedding = model.get_input_embeddings()
    return [embedding] if tied else [embedding, model.get_output_embeddings()]


def channel_importance(model: PreTrainedModel, tied: bool) -> Tensor:
    """[hidden channels]; a tied embedding counts once, with the gradient of both its uses."""
    total = inputs(*_ends(model, tied))
    for norm in _norms(model):
        total = total + salience(norm.weight)
    for layer in model.base_model.layers:
        total = total + inputs(*_readers(layer)) + outputs(*_writers(layer))
    return total


def best(importance: Tensor, count: int) -> Tensor:
    """The numbers of the `count` most important groups, in their old order."""
    return importance.topk(count).indices.sort().values


def cut_block(layer: Any, before: Block, after: Block, head_dim: int) -> None:
    """Keep a layer's best heads and neurons; changes the layer, whose gradients are spent."""
    attention, mlp = layer.self_attn, layer.mlp
    heads = best(head_importance(layer, before.key_value_heads), after.key_value_heads)
    neurons = best(neuron_importance(layer), after.ffn)
    group = before.heads // before.key_value_heads * head_dim
    queries, keys = _expanded(heads, group), _expanded(heads, head_dim)
    for linear, kept in ((attention.q_proj, queries), (attention.k_proj, keys)):
        models.keep_rows(linear, kept)
    models.keep_rows(attention.v_proj, keys)
    models.keep_columns(attention.o_proj, queries)
    models.keep_rows(mlp.gate_proj, neurons)
    models.keep_rows(mlp.up_proj, neurons)
    models.keep_columns(mlp.down_proj, neurons)


def _expanded(groups: Tensor, size: int) -> Tensor:
    """The members of groups of `size` consecutive rows."""
    return (groups[:, None] * size + torch.arange(size, device=groups.device)).flatten()


def cut_channels(model: PreTrainedModel, kept: Tensor, tied: bool) -> None:
    """Keep these hidden channels everywhere; changes the model."""
    for layer in model.base_model.layers:
        for linear in _readers(layer):
            models.keep_columns(linear, kept)
        for linear in _writers(layer):
            models.keep_rows(linear, kept)
    for norm in _norms(model):
        models.keep_channels(norm, kept)
    models.keep_channels(model.get_input_embeddings(), kept)
    if tied:
        model.tie_weights()
        model.get_output_embeddings().in_features = len(kept)
    else:
        models.keep_columns(model.get_output_embeddings(), kept)


def planned(before: Architecture, settings: Settings) -> Architecture:
    """What is left of an architecture.

    Raises:
        HarnessError: a layer or the model would be emptied, or nothing would go.
    """
    if settings.part == "channel":
        return cuts.channels(before, settings.ratio, settings.round_to)
    first, last = settings.skip_first, settings.skip_last
    return cuts.blocks(before, settings.ratio, first, last, settings.round_to)


def _heads(shape: Architecture) -> list[int]:
    return [block.heads for block in shape.blocks]


def apply(
    model: PreTrainedModel, documents: Sequence[chat.Encoded], settings: Settings
) -> dict[str, Any]:
    """Prune `model` in place.

    Args:
        model: dense, float32.
        documents: the calibration split, cut at `seq_len`.
        settings: what goes, and how much.

    Returns:
        What the checkpoint must show: its whole architecture.

    Raises:
        HarnessError: the ratio empties something or removes nothing, or there is too little text.
    """
    before = models.architecture(model)
    after = planned(before, settings)
    if settings.part == "block" and _heads(before) == _heads(after):
        told = "llm-pruner: ratio %s is less than one key/value head: attention stays whole"
        process.log.info(told, settings.ratio)
    differentiate(model, samples(documents, settings), settings.calibration_batch)
    if settings.part == "channel":
        kept = best(channel_importance(model, before.tied), after.hidden)
        cut_channels(model, kept, before.tied)
    else:
        pairs = zip(model.base_model.layers, before.blocks, after.blocks, strict=True)
        for layer, old, new in pairs:
            if old != new:
                cut_block(layer, old, new, before.head_dim)
    model.zero_grad(set_to_none=True)
    models.restate(model)
    return after.described()
