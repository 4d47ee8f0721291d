"""Trainings run as stages, from their flags on, and compared with `reference_training.py`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import reference_training as reference
import torch
from lab import SEQ_LEN, Lab, inside
from reference_training import Loss, Outcome
from structured_fixtures import run
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel

from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import files
from compression_order.text import chat
from compression_order.training import loop
from compression_order.training.settings import Training

SEED = 3
K, WHOLE = 16, 0  # ids kept of the teacher: a few, or the whole vocabulary


@dataclass(frozen=True)
class Precision:
    """What a training computes in, and how far rounding may take it from the reference.

    Attributes:
        compute: what products are made in.
        weights: dtype of the master weights.
        loss: largest difference of a step's loss, nats.
        moved: distance of the two results over that from the parent, all weights together.
        tensor: the same of any one tensor.
    """

    compute: str
    weights: str
    loss: float
    moved: float
    tensor: float


# Measured over the four trainings: 2.4e-7, 1.2e-4, 5e-4; 9e-4, 0.052, 0.14; 1.4e-3, 0.067. Of the
# sabotages, losses are 7e-3 apart at least. A bf16 weight near 1 (a norm's) moves by whole steps of
# 0.004 or 0.008: there one tensor tells nothing.
PRECISIONS = {
    "float32": Precision("float32", "float32", 1e-5, 1e-3, 4e-3),
    "autocast": Precision("bf16", "float32", 3e-3, 0.1, 0.3),
    "bfloat16": Precision("bf16", "bfloat16", 4e-3, 0.1, math.inf),
}


@dataclass(frozen=True)
class Case:
    """A training: its stage, its settings, and what more the stage is told.

    Attributes:
        k: ids kept of the teacher; None: no teacher.
    """

    script: str
    pipeline: str
    how: Mapping[str, Any]
    flags: tuple[str, ...] = ()
    k: int | None = None
    alpha: float = 0.0
    temperature: float = 1.0

    @property
    def prefix(self) -> str:
        """Of the flags of its training."""
        return "recovery" if self.script == "prune" else "training"


COMMON = {"steps": 5, "seq_len": SEQ_LEN, "learning_rate": 2e-3}
CUT = ("--ratio=0.25", "--round-to=64", f"--seq-len={SEQ_LEN}")
CASES = {
    # 5 batches an epoch, one conversation of 11 left out: 2 epochs. AdamW hides a factor that all
    # gradients share, but for its epsilon: near it, clipping shows in every precision
    "P": Case(
        "prune",
        "P",
        {"conversations": 11, "batch_size": 2, "accumulation": 2, "warmup_steps": 3}
        | {"weight_decay": 0.1, "max_grad_norm": 2e-5},
        CUT,
    ),
    # 2 batches an epoch, 2 of 10 left out: 2.5 epochs
    "KD": Case(
        "distill",
        "P-KD",
        {"conversations": 10, "batch_size": 4, "warmup_steps": 2, "max_grad_norm": 0.5}
        | {"schedule": "cosine"},
        k=K,
        alpha=0.5,
        temperature=2.0,
    ),
    "KD, whole": Case(
        "distill",
        "P-KD",
        {"conversations": 10, "batch_size": 3, "warmup_steps": 2, "schedule": "constant"},
        k=WHOLE,
        alpha=1.0,
        temperature=2.0,
    ),
    # 20 batches from epochs of 9, sorted by length in pools of 16 conversations and of 2
    "FT": Case(
        "finetune",
        "FT",
        {"conversations": 19, "batch_size": 2, "accumulation": 4, "warmup_steps": 0}
        | {"weight_decay": 0.3, "max_grad_norm": 0.4},
        ("--method=full",),
    ),
}


@dataclass
class Bench:
    """Runs trainings as stages and as the reference; the reference only once each."""

    lab: Lab
    folder: Path
    found: dict[tuple[str, str], tuple[dict[str, Tensor], Outcome]] = field(default_factory=dict)

    @cached_property
    def cut(self) -> Path:
        """The base without a quarter of its neurons and without recovery."""
        run(self.lab, "prune", self.lab.base, self.folder / "P", [*CUT, "--compute=float32"])
        return self.folder / "P"

    def how(self, case: str, precision: str) -> Training:
        its = {**COMMON, **CASES[case].how, "weights": PRECISIONS[precision].weights}
        return Training(**its)

    def documents(self, how: Training) -> list[chat.Encoded]:
        """The conversations to train on, by what the file of splits says."""
        numbers = files.read_json(self.lab.splits)["train"][: how.conversations]
        lines = files.read_lines(self.lab.chats)
        tokenizer = AutoTokenizer.from_pretrained(self.lab.base)
        return chat.encode(tokenizer, [(i, lines[i]) for i in numbers], how.seq_len, True)

    def teacher(self, case: Case) -> Path:
        """The base's outputs, computed in float32."""
        path = self.folder / f"teacher{case.k}.{case.how['conversations']}.safetensors"
        if not path.exists():
            flags = [f"--seq-len={SEQ_LEN}", f"--conversations={case.how['conversations']}"]
            flags += [f"--top-k={case.k}", "--compute=float32", f"--costs={self.folder / 'costs'}"]
            flags += ["--student", self.lab.base, *self.lab.read(), "--out", path]
            inside("teach", *flags)
        return path

    def harness(self, name: str, precision: str, folder: Path) -> Outcome:
        """What the stage comes to, its weights as trained and not yet stored."""
        case, how = CASES[name], self.how(name, precision)
        flags = [f"--compute={PRECISIONS[precision].compute}", f"--seed={SEED}", *case.flags]
        given = how.model_dump(exclude_defaults=True).items()
        flags += [f"--{case.prefix}.{key.replace('_', '-')}={value}" for key, value in given]
        if case.k is not None:
            flags += [f"--teacher-outputs={self.teacher(case)}", f"--top-k={case.k}"]
            flags += [f"--alpha={case.alpha}", f"--temperature={case.temperature}"]
        seen: list[Outcome] = []
        own = loop.train

        def watched(model: PreTrainedModel, *args: Any) -> loop.Trained:
            done = own(model, *args)
            named = {name: w.detach().clone() for name, w in model.named_parameters()}
            seen.append(Outcome(done.losses, named))
            return done

        parent = self.cut if case.script == "distill" else self.lab.base
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "train", watched)
            run(self.lab, case.script, parent, folder / case.pipeline, flags)
        (outcome,) = seen
        return outcome

    def reference(self, name: str, precision: str) -> tuple[dict[str, Tensor], Outcome]:
        """The weights that the training starts from, and what it comes to."""
        if (name, precision) not in self.found:
            case, how = CASES[name], self.how(name, precision)
            start = self.lab.base if name == "FT" else self.cut
            model = Checkpoint(start).model(torch.float32)
            before = {name: w.detach().clone() for name, w in model.named_parameters()}
            bf16 = PRECISIONS[precision].compute == "bf16"
            products = torch.autocast("cpu", torch.bfloat16, enabled=bf16)
            documents = self.documents(how)
            after = reference.train(
                model, documents, self.loss(case, documents), how, SEED, products
            )
            self.found[name, precision] = before, after
        return self.found[name, precision]

    def loss(self, case: Case, documents: list[chat.Encoded]) -> Loss:
        if case.k is None:
            return reference.cross_entropy
        model = Checkpoint(self.lab.base).model(torch.float32)
        with torch.no_grad():
            known = {its.index: reference.logits(model, [its]) for its in documents}

        def loss(z: Tensor, batch: Any) -> Tensor:
            teacher = torch.cat([known[its.index] for its in batch])
            if case.k == WHOLE:
                soft = reference.divergence(z, teacher, case.temperature)
            else:
                soft = reference.bucket_divergence(z, teacher, case.temperature, case.k)
            hard = reference.cross_entropy(z, batch)
            return (1 - case.alpha) * hard + case.alpha * case.temperature**2 * soft

        return loss

    def check(self, name: str, precision: str, folder: Path) -> None:
        """Fail where the stage and the reference differ by more than rounding."""
        allowed, ours = PRECISIONS[precision], self.harness(name, precision, folder)
        start, plain = self.reference(name, precision)
        assert len(ours.losses) == len(plain.losses) == COMMON["steps"]
        assert ours.weights.keys() == plain.weights.keys()
        off = {key: ours.weights[key].float() - plain.weights[key].float() for key in start}
        went = {key: plain.weights[key].float() - start[key] for key in start}
        tensor = max(float(off[key].norm() / went[key].norm().clamp_min(1e-12)) for key in start)
        moved = norm(off) / norm(went)
        loss = max(abs(a - b) for a, b in zip(ours.losses, plain.losses, strict=True))
        told = (
            f"{name}, {precision}: losses {loss:.1e} nats apart, weights {moved:.1e}, {tensor:.1e}"
        )
        print(told)
        assert loss <= allowed.loss, told
        assert moved <= allowed.moved, told
        assert tensor <= allowed.tensor, told


def norm(tensors: Mapping[str, Tensor]) -> float:
    """The L2 norm of all together."""
    return float(torch.stack([tensor.norm() for tensor in tensors.values()]).norm())
