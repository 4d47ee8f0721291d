"""Training by distillation as other programs do it, and the loss alone as a person writes it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from benchmarks import given as data
from benchmarks.gauge import Gauge, peak_bytes
from benchmarks.given import ALPHA, TEMPERATURE, Batch, Given, worsen
from benchmarks.sizes import Sizes

CLAMP = 100.0  # the published ceiling of the divergence


def model_of(given: Given, dtype: torch.dtype) -> Any:
    """The uncompressed model."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(given.base, dtype=dtype)


def student_of(given: Given) -> Any:
    """The model that is trained: float32 weights, as everywhere here."""
    model = model_of(given, torch.float32)
    worsen(model)
    return model


# --- losses -----------------------------------------------------------------------------------


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


# --- scripts ----------------------------------------------------------------------------------


def plain(given: Given, gauge: Gauge, dtype: str) -> dict[str, Any]:
    """A script with the teacher in the loop, padded to the longest conversation of a batch."""

    def loss(logits: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        mask = counted(batch)
        z, its = logits[:, :-1][mask].float(), teacher[:, :-1][mask].float()
        return vocabulary_loss(z, batch.labels[:, 1:][mask], its)

    return _script(given, gauge, dtype, given.batches, loss)


def published(given: Given, gauge: Gauge, dtype: str) -> dict[str, Any]:
    """The published script's way: padded to 512, KL over the vocabulary at every position."""
    batches = [batch.padded(data.LENGTH, given.pad) for batch in given.batches]

    def loss(logits: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        return published_loss(logits, batch.labels, teacher)

    return _script(given, gauge, dtype, batches, loss)


def _script(
    given: Given,
    gauge: Gauge,
    dtype: str,
    batches: list[Batch],
    loss_of: Callable[[Tensor, Tensor, Batch], Tensor],
) -> dict[str, Any]:
    torch.set_num_threads(1)
    narrow = dtype == "bfloat16"
    teacher = model_of(given, getattr(torch, dtype)).eval()
    model = student_of(given).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=data.LEARNING_RATE, weight_decay=0.0)
    losses = []
    for watched in (teacher, model):
        gauge.watch(watched)
    gauge.mark_steps()
    for batch in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            with torch.no_grad():
                theirs = teacher(input_ids=batch.ids, attention_mask=batch.attention).logits
            logits = model(input_ids=batch.ids, attention_mask=batch.attention).logits
            loss = loss_of(logits, theirs, batch)
        loss.backward()
        clip_grad_norm_(model.parameters(), data.MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return {"units": given.timed_tokens, "value": losses[0]}


# --- trainers ---------------------------------------------------------------------------------


def trainer(given: Given, gauge: Gauge, dtype: str) -> dict[str, Any]:
    """Transformers' Trainer with the cached teacher."""
    from transformers import Trainer, TrainingArguments

    torch.set_num_threads(1)

    class Distil(_InOrder, Trainer):
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any
        ) -> Any:
            batch = inputs["batch"]
            out = model(input_ids=batch.ids, attention_mask=batch.attention)
            mask = counted(batch)
            z = out.logits[:, :-1][mask].float()
            loss = bucket_loss(z, batch.labels[:, 1:][mask], *given.buckets(batch.number))
            return (loss, out) if return_outputs else loss

    model = student_of(given)
    made = Distil(
        model,
        TrainingArguments(**_arguments(given, dtype)),
        lambda rows: {"batch": given.batches[rows[0]["batch"]]},
        _rows(given),
    )
    return _trained(made, model, given, gauge)


def gkd(given: Given, gauge: Gauge, dtype: str) -> dict[str, Any]:
    """TRL's GKDTrainer on the given answers (lmbda 0), forward divergence (beta 0)."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    torch.set_num_threads(1)

    class InOrder(_InOrder, GKDTrainer):
        pass

    def collate(rows: list[dict[str, int]]) -> dict[str, Tensor]:
        batch = given.batches[rows[0]["batch"]]
        return {
            "input_ids": batch.ids,
            "attention_mask": batch.attention,
            "labels": batch.labels,
            "prompts": batch.ids[:, :1],
            "prompt_attention_mask": batch.attention[:, :1],
        }

    how = GKDConfig(
        lmbda=0.0, beta=0.0, temperature=TEMPERATURE, max_length=data.LENGTH,
        **_arguments(given, dtype),
    )  # fmt: skip
    model, teacher = student_of(given), model_of(given, getattr(torch, dtype))
    gauge.watch(teacher)
    made = InOrder(
        model,
        teacher,
        how,
        collate,
        Dataset.from_list(_rows(given)),
        processing_class=AutoTokenizer.from_pretrained(given.base),
    )
    return _trained(made, model, given, gauge)


class _InOrder:
    """The trainer's rows in the order in which they lie: every program sees the same batches."""

    train_dataset: Any

    def _get_train_sampler(self, *_: Any) -> Any:
        return torch.utils.data.SequentialSampler(self.train_dataset)


def _rows(given: Given) -> list[dict[str, int]]:
    """One row a conversation; the collator looks up the batch that all of its rows name."""
    return [{"batch": b.number} for b in given.batches for _ in range(given.sizes.batch)]


def _arguments(given: Given, dtype: str) -> dict[str, Any]:
    return {
        "output_dir": str(given.folder / "trainer"),
        "per_device_train_batch_size": given.sizes.batch,
        "max_steps": given.sizes.steps,
        "bf16": dtype == "bfloat16",
        "use_cpu": True,
        "learning_rate": data.LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "max_grad_norm": data.MAX_GRAD_NORM,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": [],
        "logging_steps": 1,
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }


def _trained(made: Any, model: Any, given: Given, gauge: Gauge) -> dict[str, Any]:
    gauge.watch(model)
    gauge.mark_steps()
    made.train()
    losses = [entry["loss"] for entry in made.state.log_history if "loss" in entry]
    return {"units": given.timed_tokens, "value": losses[0]}


# --- the loss alone ---------------------------------------------------------------------------


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
