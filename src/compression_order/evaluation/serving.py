"""Measure what a checkpoint costs to serve: machine-independent figures, and times on this machine.

The checkpoint is loaded as a user loads it (`Checkpoint.served`): quantized weights keep their own
kernels, and an adapter stays beside them. transformers unpacks packed codes (GPTQ, AWQ) when it
loads them, so they are served dense here, as their bytes in memory show.

Answers are generated greedily from random prompts. Prefill is one pass over the whole prompt and
gives the first token. Decoding is one pass per further token, on cached keys and values. Answers
do not end early, so that every repeat does the same work.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from compression_order.architecture import shapes
from compression_order.checkpoint import adapters, models
from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import files, process
from compression_order.common.errors import HarnessError
from compression_order.costs import energy, meter
from compression_order.study.settings import Serving

PROMPT = 64  # input tokens for counting multiply-accumulates, as in `make plan`


def exact(checkpoint: Checkpoint, model: PreTrainedModel) -> dict[str, Any]:
    """Compute the figures that do not depend on the machine, before the model answers anything.

    `model` is the checkpoint as served.
    """
    counted, manifest = macs(checkpoint), checkpoint.manifest
    # each rank costs two products per token; PEFT multiplies them beside the weights
    adapter = PROMPT * adapters.parameters(model)
    return {
        "format": manifest["format"],
        "parameters": manifest["parameters"]["total"],
        "nonzero": manifest["parameters"]["nonzero"],
        "disk_bytes": manifest["bytes"]["model"],
        "memory_bytes": memory_bytes(model),
        "macs_1x64": {
            "linears": counted.linears,
            "attention": counted.attention,
            "head": counted.head,
            "adapter": adapter,
            "total": counted.total + adapter,
        },
    }


def macs(checkpoint: Checkpoint) -> shapes.Macs:
    """Multiply-accumulates of one forward pass over (1, 64) tokens, by the closed formula.

    All weights count as dense, whatever their storage, and zeros count too: neither quantization
    nor unstructured pruning changes this figure.
    """
    with torch.device("meta"):
        shape = models.architecture(models.blank(checkpoint.config))
    return shapes.macs(shape, 1, PROMPT, PROMPT)


def memory_bytes(model: PreTrainedModel) -> int:
    """Bytes of parameters, buffers, and what bitsandbytes keeps beside its weights (scales, codes).

    A tensor that two modules share counts once.
    """
    tensors = [*model.parameters(), *model.buffers(), *_states(model)]
    sizes = {(t.data_ptr(), t.device): t.numel() * t.element_size() for t in tensors}
    return sum(sizes.values())


def _states(model: PreTrainedModel) -> Iterator[Tensor]:
    """The tensors that bitsandbytes' linears hold outside parameters and buffers."""
    for kind in ("Linear4bit", "Linear8bitLt"):
        for module in models.kernels(model, kind):
            weight = module.weight
            state = getattr(weight, "quant_state", None)
            holders = (
                weight,
                state,
                getattr(state, "state2", None),
                getattr(module, "state", None),
            )
            for holder in holders:
                values = vars(holder).values() if hasattr(holder, "__dict__") else ()
                yield from (value for value in values if isinstance(value, Tensor))


def require_room(model: PreTrainedModel, asked: Serving) -> None:
    """Refuse answers that end beyond the model's last position.

    Raises:
        HarnessError: answers would end there.
    """
    most, wanted = model.config.max_position_embeddings, asked.prompt + asked.new_tokens
    if wanted > most:
        raise HarnessError(
            f"serving: prompt and new_tokens are {wanted} tokens together, and the model has "
            f"{most} positions; make one of them smaller"
        )


@dataclass(frozen=True)
class Round:
    """Seconds of one batch's prefill, and of all its decoding steps together."""

    prefill_s: float
    decode_s: float


@dataclass(frozen=True)
class Drawn:
    """Energy of the timed repeats, and the counter that measured it."""

    joules: float
    source: str


def rounds(model: PreTrainedModel, batch: int, asked: Serving) -> tuple[list[Round], Drawn | None]:
    """Time the repeats of one batch size after the warm-up, with their energy where measurable.

    Args:
        model: as served.
        batch: sequences.
        asked: lengths and repeats.
    """
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(model.config.vocab_size, (batch, asked.prompt), generator=generator).to(
        model.device
    )
    for _ in range(asked.warmup):
        answer(model, prompts, asked.new_tokens)
    meter = energy.meter(model.device)
    before = meter.joules() if meter else 0.0
    timed = [answer(model, prompts, asked.new_tokens)[0] for _ in range(asked.repeats)]
    return timed, Drawn(meter.joules() - before, meter.source) if meter else None


@torch.inference_mode()
def answer(model: PreTrainedModel, prompts: Tensor, new_tokens: int) -> tuple[Round, Tensor]:
    """Answer a batch greedily, never ending early: the seconds, and the tokens.

    Args:
        model: as served.
        prompts: [batch, length] token ids, without padding.
        new_tokens: of each answer.

    Returns:
        The times, and [batch, new_tokens] token ids.
    """
    began = _now(prompts.device)
    told = model(prompts, use_cache=True, logits_to_keep=1)
    tokens = [told.logits[:, -1:].argmax(-1)]
    filled = _now(prompts.device)
    for _ in range(new_tokens - 1):
        cache = told.past_key_values
        told = model(tokens[-1], past_key_values=cache, use_cache=True, logits_to_keep=1)
        tokens.append(told.logits[:, -1:].argmax(-1))
    taken = Round(filled - began, _now(prompts.device) - filled)
    return taken, torch.cat(tokens, 1)


def _now(device: torch.device) -> float:
    """Clock time in seconds, once the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measure(model: PreTrainedModel, batch: int, asked: Serving) -> dict[str, Any]:
    """Record one batch size: latencies, throughput, and memory and energy where measurable.

    Energy is that of the timed repeats per answer token; None if no counter can be read.
    """
    on_gpu = model.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    timed, drawn = rounds(model, batch, asked)
    tokens = batch * asked.new_tokens
    return {
        "batch": batch,
        **figures(timed, batch, asked.new_tokens),
        "joules_per_token": drawn.joules / (asked.repeats * tokens) if drawn else None,
        "energy_source": drawn.source if drawn else None,
        **({"peak_device_bytes": torch.cuda.max_memory_allocated()} if on_gpu else {}),
    }


def figures(timed: Sequence[Round], batch: int, new_tokens: int) -> dict[str, Any]:
    """Latencies (s) and throughput (tokens/s) of the repeats of one batch size.

    `tokens_per_s` counts the tokens of the answers over prefill and decoding together.
    """
    tokens = batch * new_tokens
    return {
        "prefill_s": spread([its.prefill_s for its in timed]),
        "decode_s_per_token": spread([its.decode_s / (new_tokens - 1) for its in timed]),
        "tokens_per_s": spread([tokens / (its.prefill_s + its.decode_s) for its in timed]),
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, smallest and largest, and all of them in the order of the repeats."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "values": list(values),
    }


def write(args: argparse.Namespace, asked: Serving) -> None:
    """Load once, count, measure every batch size, write <costs>/serving.json.

    Args:
        args: checkpoint, device, threads and costs.
        asked: batch sizes, lengths and repeats.

    Raises:
        HarnessError: answers would end beyond the positions that the model knows.
    """
    device = process.start(args.threads, device=args.device, as_served=True)
    torch.use_deterministic_algorithms(False)  # as served, not as compared
    # a second thread would take time from the timed work
    costs = meter.Costs("serving", args.threads, sampled=False)
    checkpoint = Checkpoint.open(args.checkpoint)
    model = checkpoint.served(device)
    require_room(model, asked)
    counted = exact(checkpoint, model)
    costs.loaded()
    measured = []
    for batch in asked.batch_sizes:
        measured.append(measure(model, batch, asked))
        tell(args.checkpoint.name, measured[-1])
    settings = asked.model_dump()
    record = {**costs.record(), "settings": settings, "exact": counted, "measured": measured}
    if device.type == "cuda":  # counted anew for each batch size
        record["peak_device_bytes"] = max(its["peak_device_bytes"] for its in measured)
    files.write_json(args.costs / "serving.json", record)


def tell(name: str, its: dict[str, object]) -> None:
    """One line a batch size."""
    prefill, decode, rate = (
        dict(its[key])["median"]  # type: ignore[call-overload]
        for key in ("prefill_s", "decode_s_per_token", "tokens_per_s")
    )
    joules = its["joules_per_token"]
    drawn = f"{joules:.3g} J/token" if isinstance(joules, float) else "energy: no counter"
    process.log.info(
        "[%s serving] batch %s: prefill %.1f ms, decode %.2f ms/token, %.1f token/s, %s",
        name, its["batch"], 1e3 * prefill, 1e3 * decode, rate, drawn,
    )  # fmt: skip
