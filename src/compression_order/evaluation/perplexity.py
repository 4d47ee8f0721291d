"""Scores of a checkpoint on a text: perplexity under two protocols, and fidelity to the base.

One forward pass over a sample gives every score. Sequences of like length share a batch, padded on
the right, where a causal model does not look: a score depends on its own tokens alone.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import arithmetic, files, process
from compression_order.common.errors import HarnessError
from compression_order.costs import meter
from compression_order.study.settings import FEWEST_DOCUMENTS, Opening, Scoring
from compression_order.text import chat
from compression_order.training import forward


@dataclass(frozen=True)
class Sample:
    """Sequences to score.

    Attributes:
        protocol: `windows` or `documents`.
        sequences: token ids.
        seq_len: length of a window in tokens; 0 for whole documents.
        context: leading tokens of every sequence that are read but not predicted, at least 1.
        answers: of each sequence the positions whose next token is scored; empty: all of them
            after the context.
        clusters: the document of each window, where none crosses a document; else empty.
        records: the record numbers of whole documents; else empty.
        text: digest of the file that the records are of.
    """

    protocol: str
    sequences: list[list[int]]
    seq_len: int = 0
    context: int = 1
    answers: tuple[tuple[int, ...], ...] = ()
    clusters: tuple[int, ...] = ()
    records: tuple[int, ...] = ()
    text: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the token ids: equal digests are equal samples."""
        told = [self.protocol, self.context, self.sequences]
        return files.digest([*told, self.answers] if self.answers else told)

    def positions(self, sequence: int) -> Sequence[int]:
        """The positions of a sequence whose next token is scored."""
        if self.answers:
            return self.answers[sequence]
        return range(self.context - 1, len(self.sequences[sequence]) - 1)


def windows(tokenizer: PreTrainedTokenizerBase, text: Path, how: Scoring) -> Sample:
    """Windows of `how.seq_len` tokens, without special tokens, none of which overlap.

    Joined: over the concatenated documents, which a blank line parts: the literature's protocol.
    The first `how.max_tokens // how.seq_len` are scored (0: all), a remainder is dropped.

    Not joined: no window crosses a document. So many documents as there would be windows, and no
    fewer than 30 if the text has them, are taken evenly over the text, and of each the first
    tokens, an equal share of `how.max_tokens` (0: all documents, whole). Their last window may be
    shorter.

    Raises:
        HarnessError: the text is shorter than one window.
    """
    most, length = how.max_tokens, how.seq_len
    if 0 < most < length:
        raise HarnessError(
            f"max_tokens {most} is less than one window of seq_len {length}; raise max_tokens or "
            "lower seq_len"
        )
    texts = [record["text"] for record in files.read_lines(text)]
    found = _joined(tokenizer, texts, how) if how.joined else _apart(tokenizer, texts, how)
    if found.sequences:
        return found
    held = sum(len(_ids(tokenizer, its, most)) for its in texts)
    raise HarnessError(
        f"{text} has {held} tokens, fewer than one window of {length}; lower seq_len or use a "
        "longer text"
    )


def _joined(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], how: Scoring) -> Sample:
    ids = _ids(tokenizer, "\n\n".join(texts), how.max_tokens)
    starts = range(0, len(ids) - how.seq_len + 1, how.seq_len)
    return Sample("windows", [ids[i : i + how.seq_len] for i in starts], how.seq_len)


def _apart(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], how: Scoring) -> Sample:
    taken, share = spread(len(texts), how)
    sequences, clusters = [], []
    for number in taken:
        ids = _ids(tokenizer, texts[number], share)
        pieces = [ids[i : i + how.seq_len] for i in range(0, len(ids), how.seq_len)]
        whole = [piece for piece in pieces if len(piece) > 1]  # one token predicts none
        sequences += whole
        clusters += [number] * len(whole)
    return Sample("windows", sequences, how.seq_len, clusters=tuple(clusters))


def spread(texts: int, how: Scoring) -> tuple[list[int], int]:
    """The numbers of the documents that windows are cut from, and how many tokens of each.

    Args:
        texts: how many documents there are.
        how: tokens of a window and of all windows; no tokens given: all documents, whole (0).
    """
    if not how.max_tokens:
        return list(range(texts)), 0
    count = min(texts, max(FEWEST_DOCUMENTS, how.max_tokens // how.seq_len))
    return [nth * texts // count for nth in range(count)], how.max_tokens // max(1, count)


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, most: int) -> list[int]:
    """The first tokens of a text; 0: all of them."""
    # a text has more characters than tokens: do not tokenize a whole corpus for its first page
    ids: list[int] = tokenizer(text[: most * 12 or None], add_special_tokens=False)["input_ids"]
    return ids[:most] if most else ids


def documents(tokenizer: PreTrainedTokenizerBase, text: Path, splits: Path, how: Opening) -> Sample:
    """The whole held-out conversations in the chat template, not cut: the paper's protocol.

    The opening that the template gives to all of them (for example a system message that it adds)
    is read but not predicted. If predicted, the same few tokens in every document would outweigh
    the conversations and correlate the documents' losses. `how.score_opening` predicts all but the
    very first token, as published. `how.answers_only` predicts the assistant's tokens alone.
    """
    numbered = chat.records(text, splits, how.part)
    encoded = chat.encode(tokenizer, numbered, mask_prompt=how.answers_only)
    sequences = [document.ids for document in encoded]
    opening = 1 if how.score_opening else max(1, _shared_opening(sequences))
    answers = [tuple(document.loss_positions()) for document in encoded if how.answers_only]
    records = tuple(document.index for document in encoded)
    return Sample(
        "documents",
        sequences,
        context=opening,
        answers=tuple(answers),
        records=records,
        text=files.sha256(text),
    )


def _shared_opening(sequences: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all sequences share; 0 for a single sequence."""
    if len(sequences) < 2:
        return 0
    columns = zip(*sequences, strict=False)  # the shortest sequence ends them
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def predicting(sample: Sample, sequence: int, states: Tensor) -> Tensor:
    """[scored tokens, width]: the states that predict the tokens of a sequence that are scored.

    Args:
        sample: the sample.
        sequence: the place of the sequence in it.
        states: its last hidden states, [tokens, width].
    """
    found = sample.positions(sequence)
    return states[found.start : found.stop] if isinstance(found, range) else states[list(found)]


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
