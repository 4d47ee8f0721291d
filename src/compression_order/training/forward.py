"""Run a model over many sequences, in batches of like length.

Sequences are padded on the right. In a causal model a position depends on those before it alone,
so that padding changes nothing of what is read here, and attention needs no mask for it: the
kernel for causal attention is the fastest one. Only positions that are asked for reach the head.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from compression_order.text import chat

TOKENS = 1024  # of a batch, padding counted: a CPU multiplies larger ones no faster
CHUNK = 256  # tokens whose logits are in memory at a time


def batches(lengths: Sequence[int], most: int = TOKENS) -> list[list[int]]:
    """Group sequences of like length, the longest first, so that a lack of memory shows at once.

    Args:
        lengths: of the sequences, tokens.
        most: tokens of a batch, padding counted; a longer sequence is a batch of its own.

    Returns:
        The places of the sequences of each batch.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    groups: list[list[int]] = []
    for place in order:
        # the first of a group is its longest
        if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= most:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def states(
    model: PreTrainedModel,
    sequences: Sequence[Sequence[int]],
    attended: Sequence[int] = (),
    most: int = TOKENS,
) -> Iterator[dict[int, Tensor]]:
    """What the head multiplies, batch after batch.

    Args:
        model: in evaluation mode.
        sequences: token ids.
        attended: how many of the first ids of each sequence attention sees; none: all. Others
            stand only where padding is to be counted.
        most: see `batches`.

    Yields:
        Of each sequence of a batch, by its place: its last hidden states, [length, width].
    """
    lengths = list(map(len, sequences))
    for places in batches(lengths, most):
        ids = chat.padded([sequences[place] for place in places], 0).to(model.device)
        mask = None
        if any(attended[place] < lengths[place] for place in places if attended):
            seen = [[1] * attended[place] for place in places]
            mask = chat.padded(seen, 0, ids.shape[1]).to(model.device)
        with torch.no_grad():
            found = model.base_model(
                input_ids=ids, attention_mask=mask, use_cache=False
            ).last_hidden_state
        yield {place: rows[: lengths[place]] for place, rows in zip(places, found, strict=True)}


def trained_states(
    model: PreTrainedModel, documents: Sequence[chat.Encoded]
) -> Iterator[dict[int, Tensor]]:
    """Run a model over documents, batch after batch.

    Yields:
        Of each document of a batch, by its place: its last hidden states at the positions that
        are trained on, [tokens, width].
    """
    ids_of = [document.ids for document in documents]
    attended = [len(document.ids) - document.padding for document in documents]
    for batch in states(model, ids_of, attended):
        yield {place: its[documents[place].loss_positions()] for place, its in batch.items()}


def chunks(count: int) -> Iterator[slice]:
    """Slices of at most `CHUNK` of that many tokens: give it those of a batch, not of a sequence.

    Logits of many different sizes would leave holes in memory, as much again as is used.
    """
    for begin in range(0, count, CHUNK):
        yield slice(begin, min(begin + CHUNK, count))
