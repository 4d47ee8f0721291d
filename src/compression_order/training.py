"""The one training loop: distillation, fine-tuning and recovery after pruning all run it.

float32 master weights under bf16 autocast, AdamW, clipped gradients. The batch of a step is a
pure function of the seed and the step, so that a killed run resumes from its snapshot and
ends with the bytes of an uninterrupted one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import AdamW
from transformers import PreTrainedModel

from compression_order import chat, losses
from compression_order.errors import HarnessError
from compression_order.runtime import Progress
from compression_order.snapshots import Snapshots

# hidden states [tokens, width] at the positions that count, the output embedding
# [vocabulary, width] and the batch -> the sum of the loss over those tokens
Objective = Callable[[Tensor, Tensor, chat.Batch], Tensor]


@dataclass(frozen=True)
class Training:
    """How long and how fast to train; 0 steps is no training."""

    steps: int = 0
    batch_size: int = 4
    seq_len: int = 256
    mask_prompt: bool = True
    learning_rate: float = 5e-5
    warmup_steps: int = 4
    schedule: str = "linear"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0


@dataclass(frozen=True)
class Trained:
    """What a training run did.

    Attributes:
        tokens: tokens that the loss counted.
        losses: mean loss of each step, nats.
    """

    tokens: int
    losses: list[float]

    def claims(self) -> dict[str, float | int]:
        """The record for the manifest."""
        tenth = max(1, len(self.losses) // 10)
        return {
            "steps": len(self.losses),
            "tokens": self.tokens,
            "loss_first": sum(self.losses[:tenth]) / tenth,
            "loss_last": sum(self.losses[-tenth:]) / tenth,
        }


def rate_at(step: int, settings: Training) -> float:
    """The learning rate of a step: linear warm-up, then linear, cosine or no decay to 0."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    span = max(1, settings.steps - settings.warmup_steps)
    done = (step - settings.warmup_steps) / span
    decay = {"linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2, "constant": 1.0}
    return settings.learning_rate * decay[settings.schedule]


def next_token(hidden: Tensor, head: Tensor, batch: chat.Batch) -> Tensor:
    """The objective of fine-tuning: cross entropy with the next token."""
    return losses.chunked(hidden, head, losses.cross_entropy(targets(batch)))


def loss_mask(batch: chat.Batch) -> Tensor:
    """[batch, length - 1], true at the positions t whose token t + 1 is trained on."""
    return batch.labels[:, 1:] != chat.IGNORED


def targets(batch: chat.Batch) -> Tensor:
    """[tokens]: the labels at the positions of `loss_mask`, row by row."""
    return batch.labels[:, 1:][loss_mask(batch)]


def hidden_states(model: PreTrainedModel, batch: chat.Batch) -> Tensor:
    """[batch, length, width]: what the output embedding multiplies."""
    states: Tensor = model.base_model(
        input_ids=batch.ids, attention_mask=batch.attention, use_cache=False
    ).last_hidden_state
    return states


def train(
    model: PreTrainedModel,
    documents: list[chat.Encoded],
    objective: Objective,
    settings: Training,
    seed: int,
    snapshots: Snapshots,
    label: str,
) -> Trained:
    """Train `model` in place and return what was done.

    Args:
        model: float32 weights.
        documents: the training split.
        objective: the loss; see `Objective`.
        settings: steps, batch size, rates.
        seed: draws the batches.
        snapshots: where to resume from and to leave snapshots.
        label: the job's name on its progress lines.

    Raises:
        HarnessError: the loss is not finite.
    """
    plan = chat.schedule(documents, settings.batch_size, settings.steps, seed)
    optimizer = AdamW(
        model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    model.train()
    history, tokens = snapshots.restore(model, optimizer)
    progress = Progress(label, "step", settings.steps, start=len(history))
    for step in range(len(history), settings.steps):
        batch = chat.batch(plan[step], model.config.pad_token_id or 0)
        loss, counted = _step(model, optimizer, batch, objective, rate_at(step, settings), settings)
        if not math.isfinite(loss):
            raise HarnessError(
                f"{label}: the loss of step {step + 1} is {loss}; lower learning_rate "
                f"({settings.learning_rate}) or look at the parent checkpoint"
            )
        history.append(loss)
        tokens += counted
        snapshots.keep(model, optimizer, history, tokens)
        progress.update(step + 1, f"loss {loss:.3f}")
    model.eval()
    return Trained(tokens, history)


def _step(
    model: PreTrainedModel,
    optimizer: AdamW,
    batch: chat.Batch,
    objective: Objective,
    rate: float,
    settings: Training,
) -> tuple[float, int]:
    for group in optimizer.param_groups:
        group["lr"] = rate
    mask = loss_mask(batch)
    counted = int(mask.sum())
    with torch.autocast("cpu", torch.bfloat16):
        hidden = hidden_states(model, batch)[:, :-1][mask]
        loss = objective(hidden, model.get_output_embeddings().weight, batch) / counted
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item(), counted
