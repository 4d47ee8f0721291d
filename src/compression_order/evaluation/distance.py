"""Distance between two models that differ by the order of two stages: their commutator.

Stages that commute give the same model in either order. The distance is the Kullback-Leibler
divergence between the two models' next-token distributions, per token of the held-out
conversations. The divergence is not symmetric, so both directions are reported.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import arithmetic, files, process
from compression_order.common.errors import HarnessError
from compression_order.costs import meter
from compression_order.evaluation import perplexity, samples
from compression_order.statistics import paired
from compression_order.study.settings import Opening
from compression_order.training import forward


@dataclass(frozen=True)
class Apart:
    """One sequence.

    Attributes:
        forward: [tokens], KL(first || second), nats.
        backward: [tokens], KL(second || first), nats.
        agree: [tokens], whether both models have the same likeliest next token.
    """

    forward: Tensor
    backward: Tensor
    agree: Tensor


def apart(first: perplexity.Reference, second: perplexity.Reference) -> Iterator[Apart]:
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
        for rows in forward.chunks(len(states)):
            a, b = first.logits(nth, rows), second.logits(nth, rows)
            agree = a.argmax(-1) == b.argmax(-1)
            parts.append((perplexity.token_kl(b, a), perplexity.token_kl(a, b), agree))
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


def outputs(
    folder: Path, args: argparse.Namespace, opening: Opening, device: torch.device
) -> perplexity.Reference:
    """Run a checkpoint on the held-out conversations, then release its weights."""
    checkpoint = Checkpoint.open(folder)
    sample = samples.documents(checkpoint.tokenizer, args.text, args.splits, opening)
    return perplexity.reference(checkpoint.model(arithmetic.dtype(), device), sample).to(device)


def compare(args: argparse.Namespace, opening: Opening) -> None:
    """Run two checkpoints, compare them, write the result.

    Args:
        args: first, second, text, splits, out, device, threads and costs.
        opening: how whole conversations are scored.
    """
    device = process.start(args.threads, device=args.device, compute=args.compute)
    costs = meter.Costs("compare", args.threads)
    names = {"first": args.first.name, "second": args.second.name}
    label = f"{names['first']} and {names['second']}"
    process.log.info("[%s] reading the held-out conversations", label)
    first, second = (outputs(path, args, opening, device) for path in (args.first, args.second))
    progress = process.Progress(label, "conversation", len(first.states))
    found = []
    for its in apart(first, second):
        found.append(its)
        progress.update(len(found))
    files.write_json(args.out, record(names, first.digest, found))
    costs.write(args.costs)
