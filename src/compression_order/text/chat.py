"""Chat conversations as token ids, and the batches that training draws from them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from compression_order.common.errors import HarnessError
from compression_order.text import conversations

IGNORED = -100  # the label that torch's cross entropy skips

records = conversations.records  # of a split; it lives where there is no torch


@dataclass(frozen=True)
class Encoded:
    """One conversation.

    Attributes:
        index: its record number in the text.
        ids: its token ids, in the chat template, and padding that counts, if any.
        labels: `ids` where the token is trained on, `IGNORED` elsewhere.
        padding: how many of the last ids are padding that counts; attention passes it over.
    """

    index: int
    ids: list[int]
    labels: list[int]
    padding: int = 0

    def loss_positions(self) -> list[int]:
        """The positions t whose next token t + 1 is trained on."""
        return [t for t in range(len(self.ids) - 1) if self.labels[t + 1] != IGNORED]


@dataclass(frozen=True)
class Batch:
    """Conversations padded on the right.

    Attributes:
        ids: [batch, length] token ids.
        attention: [batch, length], 1 on real tokens.
        labels: [batch, length], `IGNORED` on padding and on masked tokens.
        indices: the record number of each row.
        counts_padding: whether padding is trained on, so that attention must pass it over.
    """

    ids: Tensor
    attention: Tensor
    labels: Tensor
    indices: tuple[int, ...]
    counts_padding: bool = False

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        tensors = (self.ids.to(device), self.attention.to(device), self.labels.to(device))
        return Batch(*tensors, self.indices, self.counts_padding)


def template_ids(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, str]], prompt: bool = False
) -> list[int]:
    """The token ids of messages in the tokenizer's chat template.

    Args:
        tokenizer: it must have a chat template.
        messages: role and content of each turn.
        prompt: end with the opening of the assistant's turn.
    """
    text = tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=prompt
    )
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def encode(
    tokenizer: PreTrainedTokenizerBase,
    numbered: Sequence[tuple[int, dict[str, Any]]],
    seq_len: int | None = None,
    mask_prompt: bool = False,
    count_padding: bool = False,
) -> list[Encoded]:
    """Encode conversations, whole or cut to `seq_len` tokens.

    With `mask_prompt` only the assistant's words (and the end of its turn) are trained on.
    A conversation whose cut leaves nothing to train on is left out. With `count_padding` every
    conversation is padded to `seq_len`, and the padding is trained on like words: a quirk of
    arXiv 2511.19495, whose labels are not masked there.
    """
    encoded = (_encode(tokenizer, i, r["messages"], seq_len, mask_prompt) for i, r in numbered)
    usable = [document for document in encoded if document.loss_positions()]
    if not count_padding or seq_len is None:
        return usable
    return [_padded(document, seq_len, tokenizer.pad_token_id or 0) for document in usable]


def _padded(document: Encoded, seq_len: int, pad: int) -> Encoded:
    missing = seq_len - len(document.ids)
    filler = [pad] * missing
    return Encoded(document.index, document.ids + filler, document.labels + filler, missing)


def _encode(
    tokenizer: PreTrainedTokenizerBase,
    index: int,
    messages: Sequence[dict[str, str]],
    seq_len: int | None,
    mask_prompt: bool,
) -> Encoded:
    ids = template_ids(tokenizer, messages)
    labels = [IGNORED] * len(ids) if mask_prompt else list(ids)
    for turn, message in enumerate(messages):
        if mask_prompt and message["role"] == "assistant":
            begin = len(template_ids(tokenizer, messages[:turn], prompt=True))
            end = len(template_ids(tokenizer, messages[: turn + 1]))
            labels[begin:end] = ids[begin:end]
    return Encoded(index, ids[:seq_len], labels[:seq_len])


def padded(rows: Sequence[Sequence[int]], filler: int, length: int = 0) -> Tensor:
    """[rows, length]: the numbers of each row, then the filler; 0: as long as the longest row."""
    wanted = length or max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (wanted - len(row))] for row in rows])


def batch(documents: Sequence[Encoded], pad: int) -> Batch:
    """Pad documents on the right to the longest of them."""
    length = max(len(d.ids) for d in documents)
    return Batch(
        ids=padded([d.ids for d in documents], pad),
        attention=padded([[1] * (len(d.ids) - d.padding) for d in documents], 0, length),
        labels=padded([d.labels for d in documents], IGNORED),
        indices=tuple(d.index for d in documents),
        counts_padding=any(d.padding for d in documents),
    )


def schedule(
    documents: Sequence[Encoded], batch_size: int, steps: int, seed: int
) -> list[list[Encoded]]:
    """The documents of each step, a pure function of the seed: a resumed run draws the same.

    Every epoch is a fresh shuffle. Within groups of eight batches documents of like length
    share a batch, which halves the padding; the batches are then shuffled again. (Eight batches or
    fewer that leave nothing out are thus the same in every epoch, in another order.)

    An epoch draws each document once. Where `batch_size` does not divide their number, it leaves
    the remainder out, other documents in every epoch, long ones no more often than short ones.
    """
    if len(documents) < batch_size:
        raise HarnessError(
            f"the training split has {len(documents)} usable conversations, fewer than "
            f"batch_size {batch_size}; lower batch_size or enlarge the split"
        )
    drawn: list[list[Encoded]] = []
    epoch = 0
    while len(drawn) < steps:
        drawn += _epoch(documents, batch_size, random.Random(f"{seed}/{epoch}"))
        epoch += 1
    return drawn[:steps]


def _epoch(
    documents: Sequence[Encoded], batch_size: int, rng: random.Random
) -> list[list[Encoded]]:
    order = rng.sample(documents, len(documents) // batch_size * batch_size)
    pool = 8 * batch_size
    pools = [order[i : i + pool] for i in range(0, len(order), pool)]
    by_length = [d for p in pools for d in sorted(p, key=lambda d: len(d.ids))]
    batches = [by_length[i : i + batch_size] for i in range(0, len(order), batch_size)]
    rng.shuffle(batches)
    return batches


def windows(documents: Sequence[Encoded], seq_len: int, most: int = 0) -> Tensor:
    """Conversations joined and cut into windows, so that no method calibrates on padding.

    What is left over at the end is not used.

    Args:
        documents: the calibration split, in its order.
        seq_len: tokens a window.
        most: windows wanted; 0 is all.

    Returns:
        [windows, seq_len] token ids.

    Raises:
        HarnessError: the text is shorter than one window, or than the windows wanted.
    """
    ids = [token for document in documents for token in document.ids]
    found = len(ids) // seq_len
    if found < max(most, 1):
        raise HarnessError(
            f"the calibration split has {len(ids)} tokens, fewer than {max(most, 1)} windows of "
            f"seq_len {seq_len}; lower seq_len or windows, or enlarge splits.calibration"
        )
    wanted = most or found
    return torch.tensor(ids[: wanted * seq_len]).reshape(wanted, seq_len)
