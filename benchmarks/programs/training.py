"""Training by distillation as other programs do it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from benchmarks import given as data
from benchmarks.gauge import Gauge
from benchmarks.given import TEMPERATURE, Batch, Given, worsen
from benchmarks.programs.losses import bucket_loss, counted, published_loss, vocabulary_loss


def model_of(given: Given, dtype: torch.dtype) -> Any:
    """The uncompressed model."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(given.base, dtype=dtype)


def student_of(given: Given) -> Any:
    """The model that is trained: float32 weights, as everywhere here."""
    model = model_of(given, torch.float32)
    worsen(model)
    return model


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
