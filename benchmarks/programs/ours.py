"""This project's own functions, reached as its stages and evaluations reach them."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks import given as data
from benchmarks.gauge import Gauge
from benchmarks.given import Given, worsen
from compression_order.checkpoint import parents
from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import arithmetic, bf16, process


def factors() -> str:
    """The dtype of what is multiplied: bf16 is widened on a CPU that is slow at its products."""
    narrow = arithmetic.used() == arithmetic.BF16 and bf16.are_fast()
    return "bfloat16" if narrow else "float32"


def begin(given: Given, other: bool = False) -> torch.dtype:
    """Prepare the process as every stage does. The one place where a choice of arithmetic goes.

    Args:
        given: it says what `compute: auto` comes to on this machine.
        other: compute in the other one.

    Returns:
        The dtype of weights that are only read.
    """
    chosen = given.facts["compute"]
    process.start(1, compute=next(k for k in arithmetic.KINDS if (k == chosen) != other))
    return arithmetic.dtype()


def distillation(given: Given, gauge: Gauge, other: bool = False) -> dict[str, Any]:
    """Train as src/distill.py does. The value is the loss of the first step."""
    from compression_order.methods.logits import run as logits
    from compression_order.methods.logits.settings import Settings
    from compression_order.training import loop
    from compression_order.training.settings import Training
    from compression_order.training.snapshots import Snapshots

    begin(given, other)
    parent = parents.load(given.base, "requantize", torch.float32)
    worsen(parent.model)
    sizes = given.sizes
    how = Training(
        steps=sizes.steps,
        batch_size=sizes.batch,
        conversations=sizes.conversations,
        learning_rate=data.LEARNING_RATE,
        max_grad_norm=data.MAX_GRAD_NORM,
        warmup_steps=0,
        schedule="constant",
    )
    settings = Settings(temperature=data.TEMPERATURE, alpha=data.ALPHA, top_k=data.TOP_K)
    text, splits = Path(given.facts["chat"]), Path(given.facts["splits"])
    documents = loop.documents(parent.checkpoint.tokenizer, text, splits, how)
    wanted = logits.objective(documents, settings, given.folder / "teacher.safetensors")

    def objective(hidden: Any, head: Any, batch: Any, step: loop.Step) -> Any:
        gauge.predict(len(hidden))
        return wanted(hidden, head, batch, step)

    gauge.watch(parent.model)
    gauge.mark_steps()
    with tempfile.TemporaryDirectory() as folder:
        snapshots = Snapshots(Path(folder) / "none.safetensors", "benchmark", 1e9)
        done = loop.train(parent.model, documents, objective, how, 0, snapshots, "benchmark")
    return {"units": given.timed_tokens, "value": done.losses[0]}


def loss(given: Given, gauge: Gauge) -> dict[str, Any]:
    """The loss of one batch over a large vocabulary and its gradient; the value is the loss."""
    from benchmarks.programs import losses as plain
    from compression_order.training import losses

    begin(given)
    drawn = plain.drawn_loss(given.sizes)

    def of(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        divergence = losses.bucket_kl(drawn.ids, drawn.log_probs, data.TEMPERATURE)
        per_token = losses.distillation(drawn.labels, divergence, data.TEMPERATURE, data.ALPHA)
        return losses.chunked(hidden, weight, per_token) / len(hidden)

    return plain.measure_loss(drawn, of, gauge)


def perplexity(given: Given, gauge: Gauge, other: bool = False) -> dict[str, Any]:
    """Score windows of text as src/measure.py does; the value is their perplexity."""
    from compression_order.evaluation import perplexity as scoring

    dtype = begin(given, other)
    checkpoint = Checkpoint.open(given.base)
    model = checkpoint.model(dtype)
    ids: list[list[int]] = given.facts["windows"]
    sample = scoring.Sample("windows", ids, data.LENGTH)
    scoring.score(model, scoring.Sample("windows", ids[:1], data.LENGTH))  # warms up
    gauge.watch(model)
    gauge.mark()
    scores = scoring.score(model, sample)
    with torch.no_grad():
        gauge.predict(sum(scores.counts))
    gauge.mark()
    return {"units": len(ids) * data.LENGTH, "value": scoring.perplexity(sample, scores)}


def questions(given: Given, gauge: Gauge, other: bool = False) -> dict[str, Any]:
    """Ask questions as src/measure.py does; the value is the share of right answers."""
    from compression_order.evaluation import questions as asking

    dtype = begin(given, other)
    checkpoint = Checkpoint.open(given.base)
    wanted = given.sizes.questions
    asked = [asking.Asked(Path(f"tasks/{name}.yaml"), count) for name, count in wanted.items()]
    prepared = asking.prepare(asked)
    model = checkpoint.model(dtype)
    lm = asking.ToldHFLM(model, checkpoint.tokenizer, 8, "benchmark")
    gauge.watch(model)
    gauge.mark()
    found = asking.answer(lm, prepared)
    gauge.mark()
    right = sum(found[name]["value"] * count for name, count in wanted.items())
    return {"units": sum(wanted.values()), "value": right / sum(wanted.values())}


def nf4(given: Given, gauge: Gauge) -> dict[str, Any]:
    """Load a checkpoint and store it in NF4; the value is the size of the stored weights."""
    from compression_order.methods.nf4 import run
    from compression_order.methods.nf4.settings import Settings

    begin(given)
    import bitsandbytes  # noqa: F401  # its import is no part of the work

    return _quantize(given, gauge, lambda model: run.apply(model, [], Settings())[0])


def gptq(given: Given, gauge: Gauge) -> dict[str, Any]:
    """Load a checkpoint and store it by GPTQ; the value is the size of the stored weights."""
    from compression_order.methods.gptq import run
    from compression_order.methods.gptq.settings import Settings
    from compression_order.text import chat

    begin(given)
    import llmcompressor  # noqa: F401  # its import is no part of the work

    windows = given.facts["calibration"]
    settings = Settings(group_size=64, activation_order=False, seq_len=len(windows[0]))
    documents = [chat.Encoded(i, ids, ids) for i, ids in enumerate(windows)]
    return _quantize(given, gauge, lambda model: run.apply(model, documents, settings)[0])


def _quantize(given: Given, gauge: Gauge, form_of: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        gauge.mark()
        model = Checkpoint.open(given.base).model(torch.bfloat16)
        form_of(model).store(model, Path(folder) / "made")
        gauge.mark()
        stored = (Path(folder) / "made/model.safetensors").stat().st_size
    return {"units": given.facts["quantized_mb"], "value": stored}
