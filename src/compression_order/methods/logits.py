"""Distillation of the teacher's next-token distribution into the student.

Hinton et al. 2015, sections 2 and 2.1 (arXiv 1503.02531): loss = (1 - alpha) CE +
alpha T^2 KL(teacher || student), the mean over the tokens that are trained on. The teacher's
distribution comes from its cache: its k likeliest ids and the mass of all the others.
"""

from dataclasses import dataclass, field

from torch import Tensor

from compression_order import chat, losses
from compression_order.teacher import Cache
from compression_order.training import Objective, Training, targets


@dataclass(frozen=True)
class Settings:
    """How strongly and how softly the student follows the teacher, and the training."""

    temperature: float = 2.0
    alpha: float = 0.5
    top_k: int = 64
    training: Training = field(default_factory=lambda: Training(steps=32))


def objective(cache: Cache, settings: Settings) -> Objective:
    """The loss of a batch of the documents that the cache knows."""

    def loss(hidden: Tensor, head: Tensor, batch: chat.Batch) -> Tensor:
        ids, log_probs = cache.buckets(batch.indices, settings.temperature)
        per_token = losses.distillation(
            targets(batch), ids, log_probs, settings.temperature, settings.alpha
        )
        return losses.chunked(hidden, head, per_token)

    return loss
