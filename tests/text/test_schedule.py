"""Which conversations a training reads, and how often."""

from collections import Counter

import pytest

from compression_order.text import chat

SEEDS = 200


def documents(count: int) -> list[chat.Encoded]:
    """As many conversations, each longer than the one before."""
    rows = [list(range(2 + number)) for number in range(count)]
    return [chat.Encoded(number, ids, ids) for number, ids in enumerate(rows)]


def epochs(count: int, size: int, epochs: int, seed: int) -> list[list[int]]:
    """The conversations of each epoch, in the order of its batches."""
    each = count // size
    drawn = chat.schedule(documents(count), size, epochs * each, seed)
    assert {len(batch) for batch in drawn} == {size}
    parts = [drawn[begin : begin + each] for begin in range(0, len(drawn), each)]
    return [[document.index for batch in part for document in batch] for part in parts]


@pytest.mark.parametrize(("count", "size"), [(40, 4), (96, 4), (70, 2), (9, 1)])
def test_every_conversation_appears_once_an_epoch(count: int, size: int) -> None:
    found = epochs(count, size, 4, 0)
    for epoch in found:
        assert sorted(epoch) == list(range(count))
    assert len({tuple(epoch) for epoch in found}) == 4  # each in an order of its own


@pytest.mark.parametrize(("count", "size"), [(10, 4), (37, 4), (11, 2)])
def test_a_remainder_is_left_out_whatever_its_length(count: int, size: int) -> None:
    """None twice, and each conversation as often left out as any other, within 4.5 errors."""
    left_out: Counter[int] = Counter()
    for seed in range(SEEDS):
        for epoch in epochs(count, size, 2, seed):
            assert len(set(epoch)) == len(epoch) == count // size * size
            left_out.update(set(range(count)) - set(epoch))
    share = count % size / count
    expected, error = 2 * SEEDS * share, (2 * SEEDS * share * (1 - share)) ** 0.5
    assert all(abs(left_out[number] - expected) < 4.5 * error for number in range(count))


def test_a_longer_schedule_begins_with_the_shorter_one() -> None:
    short, long = (chat.schedule(documents(10), 4, steps, 5) for steps in (3, 9))
    assert long[:3] == short
