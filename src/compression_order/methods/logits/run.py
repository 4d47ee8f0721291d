"""Distillation of the teacher's next-token distribution into the student.

Hinton et al. 2015, sections 2 and 2.1 (arXiv 1503.02531): loss = (1 - alpha) CE +
alpha T^2 KL(teacher || student), the mean over the tokens that are trained on. The divergence is
over the whole vocabulary: the teacher's cache holds its last hidden states, and its logits are made
again a chunk at a time. With `top_k` it is over that many ids and the mass of all the others.

`reduction: paper` is the published loss of arXiv 2511.19495, quirk included: its divergence is
summed over positions, divided by the batch (`batchmean` of [batch, positions, vocabulary]) and
clamped at 100, so that its gradient is exactly zero wherever the mean divergence of a position
passes 100 / (positions T^2): 0.049 nats for 512 positions at T = 2.
"""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from compression_order.common import files
from compression_order.methods.logits.settings import Settings
from compression_order.text import chat
from compression_order.training import losses
from compression_order.training.loop import Objective, Step, targets
from compression_order.training.teacher import Cache, key

CLAMP = 100.0  # nats: the published ceiling of T^2 KL


def objective(
    documents: Sequence[chat.Encoded], settings: Settings, teacher: Path | None
) -> Objective:
    """The loss of a batch of the documents, against the teacher's cache.

    Raises:
        HarnessError: the cache was made for other documents or another k.
    """
    assert teacher is not None  # the flag is required
    cache = Cache(teacher, key(documents, settings.top_k))
    return against(cache, settings)


def taught(
    documents: Sequence[chat.Encoded], settings: Settings, teacher: Path
) -> dict[str, str | float]:
    """The record of the teacher: the digest of its outputs, and what a top-k leaves out of them."""
    cache = Cache(teacher, key(documents, settings.top_k))
    return {"outputs": files.sha256(teacher), **cache.losses_of_top_k(settings.temperature)}


def against(cache: Cache, settings: Settings) -> Objective:
    """The loss of a batch of the documents that a cache knows."""
    return (_published if settings.reduction == "paper" else _token_mean)(cache, settings)


def _token_mean(cache: Cache, settings: Settings) -> Objective:
    def loss(hidden: Tensor, head: Tensor, batch: chat.Batch, step: Step) -> Tensor:
        divergence = cache.divergence(batch.indices, settings.temperature, hidden)
        per_token = losses.distillation(
            targets(batch), divergence, settings.temperature, settings.alpha
        )
        return losses.chunked(hidden, head[: cache.vocabulary], per_token) / step.tokens

    return loss


def _published(cache: Cache, settings: Settings) -> Objective:
    """Mean cross entropy of a batch and its clamped divergence; a step is the mean of batches."""

    def loss(hidden: Tensor, head: Tensor, batch: chat.Batch, step: Step) -> Tensor:
        labels, shared = targets(batch), head[: cache.vocabulary]
        hard = losses.chunked(hidden, shared, losses.cross_entropy(labels)) / len(labels)
        divergence = cache.divergence(batch.indices, settings.temperature, hidden)
        soft = losses.chunked(hidden, shared, divergence) / len(batch.indices)
        soft = (settings.temperature**2 * soft).clamp(max=CLAMP)
        return ((1 - settings.alpha) * hard + settings.alpha * soft) / step.batches

    return loss
