"""The training loop written out a second time, from its description, in plain torch.

Only the model's own forward pass and autograd are shared with the package: no `training/`, no
torch.optim, no loss of torch, no `chat.schedule`. Logits are whole, never chunked.
"""

import math
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from compression_order.text.chat import Encoded
from compression_order.training.settings import Training

BETAS, EPSILON = (0.9, 0.999), 1e-8  # Kingma and Ba 2015, algorithm 1

# logits [tokens, vocabulary] at the positions that count, and their documents -> [tokens], nats
Loss = Callable[[Tensor, Sequence[Encoded]], Tensor]


@dataclass(frozen=True)
class Outcome:
    """What a training comes to: the loss of each step (nats), and the weights by their names."""

    losses: list[float]
    weights: dict[str, Tensor]


def batches(documents: Sequence[Encoded], how: Training, seed: int) -> list[list[Encoded]]:
    """The batches of all steps.

    An epoch draws its documents without replacement: as many as fill whole batches. In the order
    drawn, each eight batches are sorted by length and cut into batches; these are shuffled.
    """
    size, drawn = how.batch_size, []
    for epoch in range(how.steps * how.accumulation):  # more than enough
        rng = random.Random(f"{seed}/{epoch}")
        order = rng.sample(list(documents), len(documents) // size * size)
        made = []
        while order:
            pool, order = order[: 8 * size], order[8 * size :]
            pool = sorted(pool, key=lambda document: len(document.ids))
            while pool:
                made.append(pool[:size])
                pool = pool[size:]
        rng.shuffle(made)
        drawn += made
    return drawn[: how.steps * how.accumulation]


def rate(step: int, how: Training) -> float:
    """Linear warm-up to the peak, which the last warm-up step has; then the decay to 0."""
    if step + 1 <= how.warmup_steps:
        return how.learning_rate * (step + 1) / how.warmup_steps
    share = (step - how.warmup_steps) / (how.steps - how.warmup_steps)
    if how.schedule == "linear":
        return how.learning_rate * (1 - share)
    if how.schedule == "cosine":
        return how.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
    return how.learning_rate


def logits(model: PreTrainedModel, documents: Sequence[Encoded]) -> Tensor:
    """[tokens, vocabulary] in float32, at the positions whose next token is trained on."""
    longest = max(len(document.ids) for document in documents)
    ids = torch.zeros(len(documents), longest, dtype=torch.long)
    seen = torch.zeros_like(ids)
    for row, document in enumerate(documents):
        ids[row, : len(document.ids)] = torch.tensor(document.ids)
        seen[row, : len(document.ids)] = 1
    found = model(input_ids=ids, attention_mask=seen).logits
    counted = [places(document) for document in documents]
    return torch.cat([found[row, at] for row, at in enumerate(counted)]).float()


def places(document: Encoded) -> list[int]:
    """The positions whose next token is trained on."""
    return [at - 1 for at, label in enumerate(document.labels) if at and label >= 0]


def cross_entropy(z: Tensor, documents: Sequence[Encoded]) -> Tensor:
    """-log softmax(z) at the next token, [tokens]."""
    following = [document.ids[at + 1] for document in documents for at in places(document)]
    return z.exp().sum(-1).log() - z[range(len(following)), following]


def cached(teacher: Tensor) -> Tensor:
    """Log-probabilities of a teacher's logits in half precision, as a cache of few ids has them."""
    return teacher.log_softmax(-1).half().float()


def divergence(z: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) over the whole vocabulary at a temperature, [tokens].

    Args:
        z: logits of the student, [tokens, vocabulary].
        teacher: logits of the teacher, of the same shape.
        temperature: divides both.
    """
    p = (teacher / temperature).softmax(-1)
    q = (z / temperature).softmax(-1)
    return (p * (p.log() - q.log())).sum(-1)


def bucket_divergence(z: Tensor, teacher: Tensor, temperature: float, k: int) -> Tensor:
    """The same with all but the teacher's k likeliest ids as one bucket."""
    log_p = teacher.log_softmax(-1)
    ids = log_p.topk(k).indices
    kept = (cached(teacher).gather(-1, ids) / temperature).exp()
    others = (log_p / temperature).exp().scatter(-1, ids, 0).sum(-1, keepdim=True)
    p = torch.cat([kept, others], -1)
    p = p / p.sum(-1, keepdim=True)
    every = (z / temperature).softmax(-1)
    q = [every.gather(-1, ids), every.scatter(-1, ids, 0).sum(-1, keepdim=True)]
    return (p * (p.log() - torch.cat(q, -1).log())).sum(-1)


@dataclass
class AdamW:
    """Loshchilov and Hutter 2019, algorithm 2 (arXiv 1711.05101); a state as wide as its weight."""

    weights: list[Tensor]
    done: int = 0
    first: list[Tensor] = field(default_factory=list)
    second: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.first = [torch.zeros_like(weight) for weight in self.weights]
        self.second = [torch.zeros_like(weight) for weight in self.weights]

    def step(self, gradients: Sequence[Tensor], eta: float, decay: float) -> None:
        """Update in float32, round once."""
        self.done += 1
        for weight, g, m, v in zip(self.weights, gradients, self.first, self.second, strict=True):
            mean = BETAS[0] * m.float() + (1 - BETAS[0]) * g.float()
            square = BETAS[1] * v.float() + (1 - BETAS[1]) * g.float() ** 2
            unbiased = mean / (1 - BETAS[0] ** self.done)
            size = (square / (1 - BETAS[1] ** self.done)).sqrt()
            old = weight.float()
            weight.copy_(old - eta * decay * old - eta * unbiased / (size + EPSILON))
            m.copy_(mean)
            v.copy_(square)


def clipped(gradients: Sequence[Tensor], most: float) -> list[Tensor]:
    """All scaled by one factor, so that the norm of them together is at most `most`."""
    norm = math.sqrt(sum(float((g.float() ** 2).sum()) for g in gradients))
    return [g * min(1.0, most / norm) for g in gradients]


def train(
    model: PreTrainedModel,
    documents: Sequence[Encoded],
    loss: Loss,
    how: Training,
    seed: int,
    products: AbstractContextManager[object],
) -> Outcome:
    """Train `model` in place.

    Args:
        model: float32 weights, rounded first where `how.weights` asks for bfloat16.
        documents: the training split, encoded.
        loss: of each token.
        how: steps, batch size, rates.
        seed: draws the batches.
        products: the block in which the forward pass multiplies.
    """
    model.to(getattr(torch, how.weights)).train()
    named = dict(model.named_parameters())
    weights = list(named.values())
    optimizer, drawn, losses = AdamW([w.data for w in weights]), batches(documents, how, seed), []
    for step in range(how.steps):
        its = [drawn.pop(0) for _ in range(how.accumulation)]
        tokens = sum(len(places(document)) for batch in its for document in batch)
        value, gradients = 0.0, [torch.zeros_like(weight) for weight in weights]
        for batch in its:
            with products:
                z = logits(model, batch)
            share = loss(z, batch).sum() / tokens
            for total, part in zip(gradients, torch.autograd.grad(share, weights), strict=True):
                total += part
            value += float(share.detach())
        losses.append(value)
        optimizer.step(clipped(gradients, how.max_grad_norm), rate(step, how), how.weight_decay)
    return Outcome(losses, {name: weight.detach() for name, weight in named.items()})
