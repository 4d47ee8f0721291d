"""The one training loop: distillation, fine-tuning and recovery after pruning all run it.

float32 master weights under bf16 autocast (or bf16 weights, as some studies train), AdamW,
clipped gradients; on one device, or sharded over several (`distributed.py`). The batches of a
step are a pure function of the seed and the step, so that a killed run resumes from its snapshot
and ends with the bytes of an uninterrupted one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import AdamW, Optimizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compression_order.checkpoint import masks
from compression_order.common import arithmetic
from compression_order.common.errors import HarnessError
from compression_order.common.process import Progress
from compression_order.text import chat
from compression_order.training import distributed, losses
from compression_order.training.settings import Training
from compression_order.training.snapshots import Snapshots

_STRIDE = 1_000_003  # between the seeds of two replicates


@dataclass(frozen=True)
class Step:
    """What a step counts: its loss tokens and its batches."""

    tokens: int
    batches: int


# hidden states [tokens, width] at the positions that count, the output embedding
# [vocabulary, width], the batch and its step -> the batch's share of the step's loss
Objective = Callable[[Tensor, Tensor, chat.Batch, Step], Tensor]

# parameter -> what the forward pass computes with in its place
Seen = Callable[[PreTrainedModel], dict[str, Tensor]]


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


def next_token(hidden: Tensor, head: Tensor, batch: chat.Batch, step: Step) -> Tensor:
    """The objective of fine-tuning: cross entropy with the next token, the mean over tokens."""
    return losses.chunked(hidden, head, losses.cross_entropy(targets(batch))) / step.tokens


def documents(
    tokenizer: PreTrainedTokenizerBase, text: Path, splits: Path, how: Training
) -> list[chat.Encoded]:
    """The conversations of the training split that `how` trains on, encoded.

    The teacher's cache is made of the same ones, by the same call.
    """
    parts = ("recovery", "train") if how.part == "both" else (how.part,)
    numbered = [record for part in parts for record in chat.records(text, splits, part)]
    numbered = numbered[: how.conversations or None]
    return chat.encode(tokenizer, numbered, how.seq_len, how.mask_prompt, how.count_padding)


def loss_mask(batch: chat.Batch) -> Tensor:
    """[batch, length - 1], true at the positions t whose token t + 1 is trained on."""
    return batch.labels[:, 1:] != chat.IGNORED


def targets(batch: chat.Batch) -> Tensor:
    """[tokens]: the labels at the positions of `loss_mask`, row by row."""
    return batch.labels[:, 1:][loss_mask(batch)]


def hidden_states(model: PreTrainedModel, batch: chat.Batch) -> Tensor:
    """[batch, length, width]: what the output embedding multiplies.

    Padding stands on the right, where a causal model does not look. A mask is needed only where
    padding counts: without one attention takes its fastest kernel, and copies no keys.
    """
    states: Tensor = model.base_model(
        input_ids=batch.ids,
        attention_mask=batch.attention if batch.counts_padding else None,
        use_cache=False,
    ).last_hidden_state
    return states


def optimizer_of(model: PreTrainedModel, settings: Training) -> Optimizer:
    """AdamW over the weights that train; in 8 bits two moments take 2 bytes instead of 8."""
    rate, decay = settings.learning_rate, settings.weight_decay
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if settings.optimizer == "adamw-8bit":
        from bitsandbytes.optim import AdamW8bit  # slow to import

        eight: Optimizer = AdamW8bit(weights, rate, weight_decay=decay)
        return eight
    return AdamW(weights, rate, weight_decay=decay, fused=True)


def train(
    model: PreTrainedModel,
    documents: list[chat.Encoded],
    objective: Objective,
    settings: Training,
    seed: int,
    snapshots: Snapshots,
    label: str,
    seen: Seen | None = None,
) -> Trained:
    """Train `model` in place and return what was done.

    Args:
        model: float32 weights; `settings.weights` may ask for bf16 ones. Frozen ones stay.
        documents: the training split.
        objective: the loss; see `Objective`.
        settings: steps, batch size, rates.
        seed: draws the batches.
        snapshots: where to resume from and to leave snapshots.
        label: the job's name on its progress lines.
        seen: weights that the forward pass sees otherwise than they are, such as rounded.

    Raises:
        HarnessError: the loss is not finite.
    """
    batches = settings.steps * settings.accumulation
    plan = chat.schedule(documents, settings.batch_size, batches, seed)
    loop = _Loop(model, objective, settings, seen)
    history, tokens = snapshots.restore(loop.model, loop.optimizer)
    progress = Progress(label, "step", settings.steps, start=len(history))
    for step in range(len(history), settings.steps):
        drawn = plan[step * settings.accumulation : (step + 1) * settings.accumulation]
        torch.manual_seed(
            seed * _STRIDE + step
        )  # dropout is a function of the step, as batches are
        loss, counted = loop.step(drawn, rate_at(step, settings))
        if not math.isfinite(loss):
            raise HarnessError(
                f"{label}: the loss of step {step + 1} is {loss}; lower learning_rate "
                f"({settings.learning_rate}) or look at the parent checkpoint"
            )
        history.append(loss)
        tokens += counted
        snapshots.keep(loop.model, loop.optimizer, history, tokens)
        progress.update(step + 1, f"loss {loss:.3f}")
    distributed.restore(loop.model, model)
    model.eval()
    return Trained(tokens, history)


class _Loss(nn.Module):
    """Forward pass and loss as one module: sharded as a whole, its head is whole within it."""

    def __init__(self, model: PreTrainedModel, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: chat.Batch, counted: Step) -> Tensor:
        """The batch's share of the step's loss, a scalar."""
        with arithmetic.products(self.model.device.type):
            hidden = hidden_states(self.model, batch)[:, :-1][loss_mask(batch)]
            head = self.model.get_output_embeddings().weight
            return self.objective(hidden, head, batch, counted)


class _Loop:
    """What one step of training needs.

    Attributes:
        model: what trains: the caller's model, or a sharded copy of it.
        optimizer: over its parameters.
    """

    def __init__(
        self, model: PreTrainedModel, objective: Objective, settings: Training, seen: Seen | None
    ) -> None:
        for weight in model.parameters():  # not the buffers: rotary frequencies are float32
            if weight.requires_grad:
                weight.data = weight.data.to(getattr(torch, settings.weights))
        self.settings, self.device = settings, model.device
        self.pad = model.config.pad_token_id or 0
        self.model = distributed.worker(model)
        self.loss, self.seen = _Loss(self.model, objective), seen
        distributed.shard(self.loss, self.model, model)
        self.optimizer = optimizer_of(self.model, settings)
        self.model.train()

    def step(self, drawn: Sequence[list[chat.Encoded]], rate: float) -> tuple[float, int]:
        """One optimizer step on the batches drawn: its loss, and the tokens it counted.

        Each process computes its documents' share of the loss over the tokens of all.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        tokens = sum(len(d.loss_positions()) for documents in drawn for d in documents)
        counted, total = Step(tokens, len(drawn)), 0.0
        for documents in drawn:
            batch = chat.batch(distributed.share(documents), self.pad).to(self.device)
            loss = self._loss(batch, counted)
            # the gradients of the processes are averaged, and their sum is what is wanted
            (loss * distributed.processes()).backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm)
        self.optimizer.step()
        masks.restore(self.model, distributed.sharded_like)
        self.optimizer.zero_grad(set_to_none=True)
        return distributed.summed(total, self.device), tokens

    def _loss(self, batch: chat.Batch, counted: Step) -> Tensor:
        if self.seen is None:
            loss: Tensor = self.loss(batch, counted)
            return loss
        weights = {f"model.{name}": weight for name, weight in self.seen(self.model).items()}
        return functional_call(self.loss, weights, (batch, counted))
