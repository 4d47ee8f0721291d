"""Losses of distillation as a person writes them, and the memory that a loss alone takes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import given as data
from benchmarks.gauge import Gauge, peak_bytes
from benchmarks.given import ALPHA, TEMPERATURE, Batch, Given
from benchmarks.sizes import Sizes

CLAMP = 100.0  # the published ceiling of the divergence


def bucket_loss(logits: Tensor, labels: Tensor, ids: Tensor, log_probs: Tensor) -> Tensor:
    """This project's loss against cached outputs, as a person would write it with autograd.

    Args:
        logits: [tokens, vocabulary], float32.
        labels: [tokens].
        ids: [tokens, k], the teacher's likeliest.
        log_probs: [tokens, k + 1], at the temperature; the last is all other ids together.
    """
    log_q = functional.log_softmax(logits / TEMPERATURE, -1)
    top = log_q.gather(-1, ids)
    rest = log_q.scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)
    soft = (log_probs.exp() * (log_probs - torch.cat([top, rest], -1))).sum(-1).mean()
    hard = functional.cross_entropy(logits, labels)
    return (1 - ALPHA) * hard + ALPHA * TEMPERATURE**2 * soft


def vocabulary_loss(logits: Tensor, labels: Tensor, teacher: Tensor) -> Tensor:
    """The same with the divergence over the whole vocabulary; teacher: [tokens, vocabulary]."""
    soft = functional.kl_div(
        functional.log_softmax(logits / TEMPERATURE, -1),
        functional.softmax(teacher / TEMPERATURE, -1),
        reduction="batchmean",
    )
    hard = functional.cross_entropy(logits, labels)
    return (1 - ALPHA) * hard + ALPHA * TEMPERATURE**2 * soft


def published_loss(logits: Tensor, labels: Tensor, teacher: Tensor) -> Tensor:
    """The loss of arXiv 2511.19495: summed over positions, divided by the batch, clamped.

    Args:
        logits: [batch, length, vocabulary], padding included.
        labels: [batch, length].
        teacher: as `logits`.
    """
    soft = functional.kl_div(
        functional.log_softmax(logits / TEMPERATURE, -1),
        functional.softmax(teacher / TEMPERATURE, -1),
        reduction="batchmean",
    )
    hard = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    soft = torch.clamp(soft * TEMPERATURE**2, max=CLAMP)
    return (1 - ALPHA) * hard + ALPHA * soft


def divergence(logits: Tensor, teacher: Tensor) -> Tensor:
    """The loss of TRL's GKDTrainer with beta 0: KL(teacher || student), the mean over tokens.

    trl 1.16 does not pass its temperature on to its loss, which is therefore that of 1.
    """
    log_p, log_q = functional.log_softmax(teacher, -1), functional.log_softmax(logits, -1)
    return functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def counted(batch: Batch) -> Tensor:
    """[batch, length - 1], true at positions whose next token is trained on."""
    return batch.labels[:, 1:] != -100


@dataclass(frozen=True)
class DrawnLoss:
    """Random hidden states, output embedding, labels and cached outputs of a teacher."""

    hidden: Tensor
    weight: Tensor
    labels: Tensor
    ids: Tensor
    log_probs: Tensor


def drawn_loss(sizes: Sizes, width: int = 896) -> DrawnLoss:
    """The same numbers for every program; `width` is that of Qwen2.5-0.5B."""
    torch.manual_seed(0)
    n, vocabulary = sizes.positions, sizes.vocabulary
    weight = torch.empty(vocabulary, width).normal_(std=1 / 30)
    ids = torch.stack([torch.randperm(vocabulary)[: data.TOP_K] for _ in range(n)])
    return DrawnLoss(
        torch.randn(n, width).requires_grad_(),
        weight.requires_grad_(),
        torch.randint(vocabulary, (n,)),
        ids,
        torch.randn(n, data.TOP_K + 1).log_softmax(-1),
    )


def measure_loss(
    drawn: DrawnLoss, loss_of: Callable[[Tensor, Tensor], Tensor], gauge: Gauge
) -> dict[str, Any]:
    """Time a loss and its gradients; memory is what they take above their inputs."""
    import psutil

    before = psutil.Process().memory_info().rss
    gauge.mark()
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(drawn.hidden, drawn.weight)
    loss.backward()
    gauge.mark()
    above = peak_bytes() - before
    return {"units": len(drawn.hidden), "value": loss.item(), "peak_bytes": above}


def loss(given: Given, gauge: Gauge) -> dict[str, Any]:
    """The loss over all logits at once; the value is the loss."""
    torch.set_num_threads(1)
    drawn = drawn_loss(given.sizes)

    def of(hidden: Tensor, weight: Tensor) -> Tensor:
        return bucket_loss((hidden @ weight.T).float(), drawn.labels, drawn.ids, drawn.log_probs)

    return measure_loss(drawn, of, gauge)
