"""The teacher's outputs on the training split, once for all distillations of a study."""

import argparse
from contextlib import nullcontext

import torch
from transformers import AutoTokenizer, BitsAndBytesConfig, PreTrainedModel

from compression_order.assets import archives
from compression_order.checkpoint import models
from compression_order.checkpoint.stored import MANIFEST, Checkpoint
from compression_order.common import arithmetic, process
from compression_order.costs import meter
from compression_order.training import buckets, loop, teacher
from compression_order.training.settings import Teaching, Training

SAMPLE = 32  # conversations on which the loss of a top-k is measured
LEAST_KEPT = 0.9  # of the divergence: below it a top-k is warned of


def of_study(args: argparse.Namespace) -> bool:
    """Whether a checkpoint of the study teaches, not a prepared model."""
    return args.model is None or (args.model / MANIFEST).exists()


def load(
    args: argparse.Namespace, asked: Teaching, device: torch.device
) -> tuple[PreTrainedModel, object]:
    """The teacher's model, and the tokenizer that came with it.

    A checkpoint computes as a student that trains does: from float32 weights. In bf16 weights alone
    the base would differ from itself by 0.002 nats a token, and a student would learn that.
    """
    if of_study(args):
        its = Checkpoint.open(args.model or args.student)
        return its.model(torch.float32, device), its.tokenizer
    archives.verified(args.model)
    prepared = Checkpoint(args.model)
    if asked.teacher_weights == "int8":
        # 8-bit linears: LLM.int8 of Dettmers et al. 2022, by bitsandbytes
        model = models.pretrained(
            prepared.folder,
            prepared.fields,
            quantization_config=BitsAndBytesConfig(load_in_8bit=True),
            dtype=arithmetic.dtype(),
            device_map={"": device},
        ).eval()
    else:
        model = prepared.model(arithmetic.dtype(), device)
    return model, AutoTokenizer.from_pretrained(args.model)


def write(args: argparse.Namespace, asked: Teaching) -> None:
    """Encode the training split as the distillation will, run the teacher, store.

    Args:
        args: student, model, text, splits, out, temperatures, device, threads and costs.
        asked: settings that determine the outputs.

    Raises:
        HarnessError: the tokenizers differ, or `top_k` leaves no id for the tail.
    """
    device = process.start(args.threads, device=args.device, compute=args.compute)
    costs = meter.Costs("teach", args.threads)
    student = Checkpoint(args.student)
    tokenizer = AutoTokenizer.from_pretrained(args.student)
    model, its_tokenizer = load(args, asked, device)
    rows = student.config.vocab_size, model.config.vocab_size
    shared = teacher.shared_vocabulary(tokenizer, its_tokenizer, *rows)
    costs.loaded()
    how = Training(
        part=asked.part,
        conversations=asked.conversations,
        seq_len=asked.seq_len,
        mask_prompt=asked.mask_prompt,
        count_padding=asked.count_padding,
    )
    documents = loop.documents(tokenizer, args.text, args.splits, how)
    beside = {}
    with arithmetic.products(device.type) if of_study(args) else nullcontext():
        if asked.top_k and args.model and args.temperatures:
            base = student.model(arithmetic.dtype(), device)
            sample = documents[:SAMPLE]
            beside = buckets.measured(model, base, sample, asked.top_k, shared, args.temperatures)
        teacher.write(args.out, model, documents, asked.top_k, shared, "teacher", beside)
    for temperature in args.temperatures if asked.top_k else ():
        _warn(teacher.Cache(args.out, teacher.key(documents, asked.top_k)), asked, temperature)
    costs.write(args.costs)


def _warn(cache: teacher.Cache, asked: Teaching, temperature: float) -> None:
    """Warn of a top-k that loses the divergence.

    Where the student is the teacher there is no divergence to measure: what is left out is then
    judged by the mass of the tail, which the share of independent errors that is lost equals
    nearly.
    """
    lost = cache.losses_of_top_k(temperature)
    kept = lost.get("kl_kept", 1 - lost["tail_mass"])
    if kept < LEAST_KEPT:
        process.log.warning(
            "warning: top_k %d at temperature %g keeps %.0f%% of the divergence (the tail holds "
            "%.0f%% of the teacher's mass); set top_k: 0 for the exact one",
            asked.top_k,
            temperature,
            100 * kept,
            100 * lost["tail_mass"],
        )
