"""Scores of a checkpoint on a text: perplexity under two protocols, and fidelity to the base.

One forward pass over a sample gives every score. Sequences of like length share a batch, padded on
the right, where a causal model does not look: a score depends on its own tokens alone.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import arithmetic, files, process
from compression_order.common.errors import HarnessError
from compression_order.costs import meter
from compression_order.evaluation.samples import Sample, documents, predicting
from compression_order.study.settings import Opening
from compression_order.training import forward


@dataclass(frozen=True)
class Reference:
    """The base model on a sample, kept as hidden states: 85 times smaller than its logits.

    Attributes:
        head: [vocabulary, width], the base's output embedding.
        states: of each sequence, [predicted tokens, width].
        digest: of the sample.
    """

    head: Tensor
    states: tuple[Tensor, ...]
    digest: str

    def logits(self, sequence: int, rows: slice) -> Tensor:
        """[n, vocabulary]: the base's logits at some tokens of a sequence."""
        return (self.states[sequence][rows] @ self.head.T).float()

    def of(self, places: Sequence[int]) -> "Reference":
        """Some sequences, joined to one."""
        joined = torch.cat([self.states[place] for place in places])
        return Reference(self.head, (joined,), self.digest)

    def to(self, device: torch.device) -> "Reference":
        """The same on a device."""
        states = tuple(states.to(device) for states in self.states)
        return Reference(self.head.to(device), states, self.digest)

    def write(self, path: Path) -> None:
        """Store as safetensors."""
        counts = torch.tensor([len(s) for s in self.states])
        tensors = {"head": self.head, "states": torch.cat(self.states), "counts": counts}
        with files.replacing(path) as aside:
            save_file(tensors, aside, {"sample_sha256": self.digest})

    @classmethod
    def read(cls, path: Path, device: torch.device) -> "Reference":
        """Read what `write` stored, onto a device.

        Raises:
            HarnessError: there is no such file.
        """
        if not path.exists():
            raise HarnessError(f"{path} does not exist; run src/reference.py first")
        with safe_open(path, "pt") as stored:
            digest = stored.metadata()["sample_sha256"]
            tensors = {name: stored.get_tensor(name).to(device) for name in stored.keys()}
        states = tensors["states"].split(tensors["counts"].tolist())
        return cls(tensors["head"], states, digest)


def reference(model: PreTrainedModel, sample: Sample) -> Reference:
    """Run the base model over a sample."""
    found = {
        place: predicting(sample, place, states).cpu().clone()
        for batch in forward.states(model, sample.sequences)
        for place, states in batch.items()
    }
    head = model.get_output_embeddings().weight.detach().cpu()
    return Reference(head, tuple(found[place] for place in sorted(found)), sample.digest)


@dataclass
class Scores:
    """Per sequence of a sample.

    Attributes:
        losses: mean loss of the predicted tokens, nats.
        counts: predicted tokens.
        kl: mean KL(base || model), nats; empty without a reference.
        agreement: share of tokens with the same likeliest next token as base; likewise.
        token_kl: KL of every token of the sample, in its order; likewise.
    """

    losses: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    agreement: list[float] = field(default_factory=list)
    token_kl: list[float] = field(default_factory=list)


def score(
    model: PreTrainedModel,
    sample: Sample,
    against: Reference | None = None,
    told: Callable[[int], None] = lambda done: None,
) -> Scores:
    """Score a sample.

    Args:
        model: in evaluation mode.
        sample: the sequences.
        against: the base on the same sample, for the divergence from it.
        told: called with the number of sequences that are done.

    Raises:
        HarnessError: the reference was made from another sample.
    """
    if against and against.digest != sample.digest:
        raise HarnessError(
            "the reference was made of another sample than the one to score (its hash differs); "
            "delete the study's reference file and run again"
        )
    head = model.get_output_embeddings().weight.detach()
    found: dict[int, Tensor] = {}
    for batch in forward.states(model, sample.sequences):
        states = torch.cat([predicting(sample, place, its) for place, its in batch.items()])
        ids = [sample.sequences[place][at + 1] for place in batch for at in sample.positions(place)]
        counts = [len(sample.positions(place)) for place in batch]
        targets = torch.tensor(ids, device=states.device)
        tokens = _of_tokens(states, head, targets, against and against.of(list(batch)))
        found |= dict(zip(batch, tokens.cpu().split(counts, dim=1), strict=True))
        told(len(found))
    return _scores([found[place] for place in sorted(found)], against is not None)


def _of_tokens(states: Tensor, head: Tensor, targets: Tensor, against: Reference | None) -> Tensor:
    """[3, tokens]: loss, KL from base and agreement of every predicted token, float64.

    Args:
        states: [tokens, width], what predicts them.
        head: [vocabulary, width].
        targets: [tokens].
        against: the base on these tokens as one sequence.
    """
    parts = []
    for rows in forward.chunks(len(states)):
        logits = (states[rows] @ head.T).float()
        loss = F.cross_entropy(logits, targets[rows], reduction="none").double()
        if against is None:
            parts.append(torch.stack([loss, loss * 0, loss * 0]))
            continue
        base = against.logits(0, rows)
        agreement = (base.argmax(-1) == logits.argmax(-1)).double()
        parts.append(torch.stack([loss, token_kl(logits, base), agreement]))
    return torch.cat(parts, 1)


def _scores(found: Sequence[Tensor], compared: bool) -> Scores:
    means = [tokens.mean(1).tolist() for tokens in found]
    losses, kl, agreement = (list(values) for values in zip(*means, strict=True))
    counts = [tokens.shape[1] for tokens in found]
    if not compared:
        return Scores(losses, counts)
    return Scores(losses, counts, kl, agreement, torch.cat(list(found), 1)[1].tolist())


def token_kl(logits: Tensor, base: Tensor) -> Tensor:
    """[tokens]: KL(base || model), nats."""
    log_probs, base_log_probs = logits.log_softmax(-1), base.log_softmax(-1)
    probs = base_log_probs.exp()
    return (probs * base_log_probs.sub_(log_probs)).sum(-1).double()


def weighted_mean(values: Sequence[float], counts: Sequence[int]) -> float:
    """The mean of values weighted by token counts."""
    return math.fsum(v * c for v, c in zip(values, counts, strict=True)) / sum(counts)


def perplexity(sample: Sample, scores: Scores) -> float:
    """The exponential of the mean loss: over tokens (windows) or over documents (documents)."""
    if sample.protocol == "windows":
        return math.exp(weighted_mean(scores.losses, scores.counts))
    return math.exp(math.fsum(scores.losses) / len(scores.losses))


def perplexity_record(sample: Sample, scores: Scores) -> dict[str, Any]:
    """The entry of one text in `perplexity.json`."""
    return {
        "protocol": sample.protocol,
        "seq_len": sample.seq_len,
        "context": sample.context,
        **({"answers_only": True} if sample.answers else {}),
        "compute": arithmetic.used(),
        "sample_sha256": sample.digest,
        **({"clusters": list(sample.clusters)} if sample.clusters else {}),
        **({"records": list(sample.records), "text_sha256": sample.text} if sample.text else {}),
        "tokens": sum(scores.counts),
        "losses": scores.losses,
        "counts": scores.counts,
        "perplexity": perplexity(sample, scores),
    }


def fidelity_record(text: str, sample: Sample, scores: Scores) -> dict[str, Any]:
    """`fidelity.json`: token-weighted means, the values of each document, the 99th percentile."""
    return {
        "text": text,
        "sample_sha256": sample.digest,
        "tokens": sum(scores.counts),
        "counts": scores.counts,
        "kl": weighted_mean(scores.kl, scores.counts),
        "kl_per_document": scores.kl,
        "kl_p99": float(np.quantile(scores.token_kl, 0.99)),
        "top1_agreement": weighted_mean(scores.agreement, scores.counts),
        "top1_agreement_per_document": scores.agreement,
    }


def write_reference(args: argparse.Namespace, opening: Opening) -> None:
    """Keep the base's hidden states on the held-out conversations.

    Args:
        args: model, text, splits, out, device, threads and costs.
        opening: how whole conversations are scored.
    """
    device = process.start(args.threads, device=args.device, compute=args.compute)
    costs = meter.Costs("reference", args.threads)
    base = Checkpoint.open(args.model)
    model = base.model(arithmetic.dtype(), device)
    costs.loaded()
    sample = documents(base.tokenizer, args.text, args.splits, opening)
    reference(model, sample).write(args.out)
    costs.write(args.costs)
