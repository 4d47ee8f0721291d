"""Sequences in batches of like length: the same states as one at a time."""

import random
from collections.abc import Iterable

import pytest
import torch
from lab import Lab
from torch import Tensor
from transformers import PreTrainedModel

from compression_order.checkpoint.stored import Checkpoint
from compression_order.text import chat
from compression_order.training import forward, loop

LENGTHS = [5, 40, 7, 7, 33, 1, 90, 12]


@pytest.fixture(scope="module")
def model(lab: Lab) -> PreTrainedModel:
    return Checkpoint(lab.base).model(torch.float32)


@pytest.fixture(scope="module")
def sequences(model: PreTrainedModel) -> list[list[int]]:
    rng = random.Random(0)
    return [[rng.randrange(model.config.vocab_size) for _ in range(n)] for n in LENGTHS]


def read(batches: Iterable[dict[int, Tensor]]) -> dict[int, Tensor]:
    return {place: states for batch in batches for place, states in batch.items()}


@pytest.mark.parametrize("most", [1, 40, 100, 10_000])
def test_every_sequence_is_in_one_batch_that_holds_no_more_tokens(most: int) -> None:
    found = forward.batches(LENGTHS, most)
    assert sorted(place for places in found for place in places) == list(range(len(LENGTHS)))
    for places in found:
        longest = max(LENGTHS[place] for place in places)
        assert len(places) == 1 or longest * len(places) <= most
    firsts = [LENGTHS[places[0]] for places in found]
    assert firsts == sorted(LENGTHS[places[0]] for places in found)[::-1]


@pytest.mark.parametrize("most", [1, 100, 10_000])
def test_states_are_those_of_each_sequence_alone(
    model: PreTrainedModel, sequences: list[list[int]], most: int
) -> None:
    found = read(forward.states(model, sequences, most=most))
    assert sorted(found) == list(range(len(sequences)))
    for place, ids in enumerate(sequences):
        with torch.no_grad():
            alone = model.base_model(torch.tensor([ids])).last_hidden_state[0]
        torch.testing.assert_close(found[place], alone, rtol=1e-4, atol=1e-4)


def test_padding_that_counts_is_not_attended_to(model: PreTrainedModel) -> None:
    """As in training, where padding is trained on like words (arXiv 2511.19495)."""
    documents = [chat.Encoded(i, [*range(5, 5 + n), *[0] * p], [], p) for i, n, p in
                 ((0, 20, 4), (1, 10, 14), (2, 24, 0))]  # fmt: skip
    attended = [len(d.ids) - d.padding for d in documents]
    found = read(forward.states(model, [d.ids for d in documents], attended))
    with torch.no_grad():
        trained = loop.hidden_states(model, chat.batch(documents, 0))
    for place, rows in found.items():
        torch.testing.assert_close(rows, trained[place], rtol=1e-4, atol=1e-4)
    free = read(forward.states(model, [d.ids for d in documents]))
    assert not torch.allclose(found[1][-1], free[1][-1], atol=1e-3)
