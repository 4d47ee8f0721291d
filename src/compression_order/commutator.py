"""How far apart two models are that differ by the order of two stages: the commutator of the two.

Stages that commute give one model, whatever their order; how far they are from it is the
Kullback-Leibler divergence between the two models' next-token distributions, per token of the
held-out conversations. It has a direction, so both are told.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compression_order import paired, scoring
from compression_order.errors import HarnessError


@dataclass(frozen=True)
class Apart:
    """One sequence.

    Attributes:
        forward: [tokens], KL(first || second), nats.
        backward: [tokens], KL(second || first), nats.
        agree: [tokens], whether both find the same next token likeliest.
    """

    forward: Tensor
    backward: Tensor
    agree: Tensor


def apart(first: scoring.Reference, second: scoring.Reference) -> Iterator[Apart]:
    """Compare two models on the sample that both have read, sequence by sequence.

    Raises:
        HarnessError: they have read other samples, or know other vocabularies.
    """
    if first.digest != second.digest:
        raise HarnessError("the two checkpoints have read different samples; compare them on one")
    if len(first.head) != len(second.head):
        raise HarnessError(
            f"the two checkpoints have vocabularies of {len(first.head)} and {len(second.head)} "
            "tokens; they cannot be compared"
        )
    for nth, states in enumerate(first.states):
        parts = []
        for begin in range(0, len(states), scoring.CHUNK):
            rows = slice(begin, begin + scoring.CHUNK)
            a, b = first.logits(nth, rows), second.logits(nth, rows)
            agree = a.argmax(-1) == b.argmax(-1)
            parts.append((scoring.token_kl(b, a), scoring.token_kl(a, b), agree))
        yield Apart(*(torch.cat(part) for part in zip(*parts, strict=True)))


def record(names: Mapping[str, str], digest: str, found: list[Apart]) -> dict[str, Any]:
    """The contents of one pair's JSON.

    Args:
        names: `first` and `second`, the pipelines.
        digest: of the sample.
        found: of every conversation.

    Returns:
        Means over tokens; standard errors over conversations, weighted by their tokens.
    """
    counts = [len(its.forward) for its in found]
    values = {
        "kl_first_second": [float(its.forward.mean()) for its in found],
        "kl_second_first": [float(its.backward.mean()) for its in found],
        "top1": [float(its.agree.double().mean()) for its in found],
    }
    means = {key: paired.mean_se(its, counts) for key, its in values.items()}
    return {
        **names,
        "sample_sha256": digest,
        "tokens": sum(counts),
        "counts": counts,
        **{key: {"mean": its.value, "se": its.se} for key, its in means.items()},
        "per_document": values,
    }
