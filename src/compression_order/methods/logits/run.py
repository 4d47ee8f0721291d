"""Distillation of the teacher's next-token distribution into the student.

Hinton et al. 2015, sections 2 and 2.1 (arXiv 1503.02531): loss = (1 - alpha) CE +
alpha T^2 KL(teacher || student), the mean over the tokens that are trained on. The teacher's
distribution comes from its cache: its k likeliest ids and the mass of all the others.

`reduction: paper` is the published loss of arXiv 2511.19495, quirk included: its divergence is
summed over positions, divided by the batch (`batchmean` of [batch, positions, vocabulary]) and
clamped at 100, so that its gradient is exactly zero wherever the mean divergence of a position
passes 100 / (positions T^2): 0.049 nats for 512 positions at T = 2.
"""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

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


def against(cache: Cache, settings: Settings) -> Objective:
    """The loss of a batch of the documents that a cache knows."""
    return (_published if settings.reduction == "paper" else _token_mean)(cache, settings)


def _token_mean(cache: Cache, settings: Settings) -> Objective:
    def loss(hidden: Tensor, head: Tensor, batch: chat.Batch, step: Step) -> Tensor:
        ids, log_probs = cache.buckets(batch.indices, settings.temperature, hidden.device)
        per_token = losses.distillation(
            targets(batch), ids, log_probs, settings.temperature, settings.alpha
        )
        return losses.chunked(hidden, head[: cache.vocabulary], per_token) / step.tokens

    return loss


def _published(cache: Cache, settings: Settings) -> Objective:
    """Mean cross entropy of a batch and its clamped divergence; a step is the mean of batches."""

    def loss(hidden: Tensor, head: Tensor, batch: chat.Batch, step: Step) -> Tensor:
        ids, log_probs = cache.buckets(batch.indices, settings.temperature, hidden.device)
        labels, shared = targets(batch), head[: cache.vocabulary]
        hard = losses.chunked(hidden, shared, losses.cross_entropy(labels)) / len(labels)
        divergence = losses.bucket_kl(ids, log_probs, settings.temperature)
        soft = losses.chunked(hidden, shared, divergence) / len(batch.indices)
        soft = (settings.temperature**2 * soft).clamp(max=CLAMP)
        return ((1 - settings.alpha) * hard + settings.alpha * soft) / step.batches

    return loss
