"""The teacher's outputs on the training split, once for all distillations of a study."""

import argparse

import torch
from transformers import AutoTokenizer, BitsAndBytesConfig, PreTrainedModel

from compression_order.assets import archives
from compression_order.checkpoint import models
from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import arithmetic, process
from compression_order.costs import meter
from compression_order.training import loop, teacher
from compression_order.training.settings import Teaching, Training


def load(
    args: argparse.Namespace, asked: Teaching, device: torch.device
) -> tuple[PreTrainedModel, object]:
    """The teacher's model, and the tokenizer that came with it."""
    if args.model is None:
        student = Checkpoint.open(args.student)
        return student.model(arithmetic.dtype(), device), student.tokenizer
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
        args: student, model, text, splits, out, device, threads and costs.
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
        conversations=asked.conversations,
        seq_len=asked.seq_len,
        mask_prompt=asked.mask_prompt,
        count_padding=asked.count_padding,
    )
    documents = loop.documents(tokenizer, args.text, args.splits, how)
    teacher.write(args.out, model, documents, asked.top_k, shared, "teacher")
    costs.write(args.costs)
