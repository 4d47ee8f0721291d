"""The one training loop against the same written out in plain torch, and the loop sabotaged.

Losses and weights after five steps are compared for the recovery after a cut, for distillation over
buckets and over the whole vocabulary, and for full fine-tuning. Then the code is spoilt in one way
at a time, and the same comparison must fail.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lab import Lab
from reference_bench import CASES, PRECISIONS, Bench
from torch import Tensor

from compression_order.text import chat
from compression_order.training import loop
from compression_order.training.settings import Training

Sabotage = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def bench(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(lab, tmp_path_factory.mktemp("reference"))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", CASES)
def test_a_stage_trains_as_the_reference_does(
    case: str, precision: str, bench: Bench, tmp_path: Path
) -> None:
    bench.check(case, precision, tmp_path)


def half_the_rate(patch: pytest.MonkeyPatch) -> None:
    own = loop.rate_at
    patch.setattr(loop, "rate_at", lambda step, how: own(step, how) / 2)


def no_warm_up(patch: pytest.MonkeyPatch) -> None:
    own = loop.rate_at
    patch.setattr(
        loop, "rate_at", lambda step, how: own(step, how.model_copy(update={"warmup_steps": 0}))
    )


def no_clipping(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: None)


def the_same_order_in_every_epoch(patch: pytest.MonkeyPatch) -> None:
    own = chat.schedule

    def schedule(documents: Any, size: int, steps: int, seed: int) -> list[list[chat.Encoded]]:
        once = own(documents, size, len(documents) // size, seed)
        return [once[step % len(once)] for step in range(steps)]

    patch.setattr(chat, "schedule", schedule)


def bf16_master_weights(patch: pytest.MonkeyPatch) -> None:
    own = loop._Loop

    def narrow(model: Any, objective: Any, how: Training, *rest: Any) -> Any:
        return own(model, objective, how.model_copy(update={"weights": "bfloat16"}), *rest)

    patch.setattr(loop, "_Loop", narrow)


def decay_as_a_part_of_the_gradient(patch: pytest.MonkeyPatch) -> None:
    """Adam with an L2 penalty, which Loshchilov and Hutter 2019 warn of."""
    patch.setattr(loop, "AdamW", torch.optim.Adam)


def batches_weighed_alike(patch: pytest.MonkeyPatch) -> None:
    """Each batch's mean over its own tokens, whatever their number."""

    def mean(hidden: Tensor, head: Tensor, batch: chat.Batch, step: loop.Step) -> Tensor:
        own = loop.Step(len(loop.targets(batch)) * step.batches, step.batches)
        return next_token(hidden, head, batch, own)

    next_token = loop.next_token
    patch.setattr(loop, "next_token", mean)


def training_on_the_held_out_split(patch: pytest.MonkeyPatch) -> None:
    own = chat.records
    other = {"train": "held_out", "held_out": "train"}
    patch.setattr(
        chat, "records", lambda text, splits, split: own(text, splits, other.get(split, split))
    )


SABOTAGES: list[tuple[Sabotage, str, str]] = [
    *[(half_the_rate, "P", precision) for precision in PRECISIONS],
    *[(no_warm_up, "P", precision) for precision in PRECISIONS],
    *[(no_clipping, "P", precision) for precision in PRECISIONS],
    *[(the_same_order_in_every_epoch, "P", precision) for precision in PRECISIONS],
    *[(bf16_master_weights, "P", precision) for precision in ("float32", "autocast")],
    (no_clipping, "KD", "float32"),
    (no_clipping, "FT", "float32"),
    (the_same_order_in_every_epoch, "FT", "float32"),
    (decay_as_a_part_of_the_gradient, "P", "float32"),
    (batches_weighed_alike, "P", "float32"),
    (training_on_the_held_out_split, "P", "float32"),
]


@pytest.mark.parametrize(("sabotage", "case", "precision"), SABOTAGES)
def test_the_reference_notices(
    sabotage: Sabotage,
    case: str,
    precision: str,
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench.reference(case, precision)  # from the code as it is
    sabotage(monkeypatch)
    with pytest.raises(AssertionError, match="nats apart"):
        bench.check(case, precision, tmp_path)
