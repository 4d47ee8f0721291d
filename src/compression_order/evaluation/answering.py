"""Generate one checkpoint's answers to the prompts of a study, once: a judge reads the file.

Answers are greedy, or sampled with a separate seed per prompt. They never contain the prompt.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from compression_order.checkpoint import proof
from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import arithmetic, files, process
from compression_order.common.errors import HarnessError
from compression_order.costs import meter
from compression_order.judge import prompts
from compression_order.judge.prompts import Prompt
from compression_order.judge.settings import Generation
from compression_order.text import chat


@dataclass(frozen=True)
class Speaker:
    """A checkpoint that generates answers, or that scores their fluency."""

    checkpoint: Checkpoint
    model: PreTrainedModel

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer stored beside it."""
        return self.checkpoint.tokenizer


def load(folder: Path, device: torch.device) -> Speaker:
    """Load a checkpoint; an adapter stays beside the weights, unmerged."""
    checkpoint = Checkpoint.open(folder)
    return Speaker(checkpoint, checkpoint.model(arithmetic.dtype(), device))


def encode(parent: Speaker, asked: Sequence[Prompt], more: int) -> list[list[int]]:
    """The token ids of every prompt, with the opening of the answer.

    Raises:
        HarnessError: a prompt and its answer would not fit into the model.
    """
    encoded = [chat.template_ids(parent.tokenizer, p.messages, prompt=True) for p in asked]
    longest, room = max(map(len, encoded)), parent.model.config.max_position_embeddings
    if longest + more > room:
        raise HarnessError(
            f"judge.answers: a prompt of {longest} tokens and an answer of {more} do not fit into "
            f"the {room} positions of the model; lower max_new_tokens or choose another text"
        )
    return encoded


def set_sampling(parent: Speaker, how: Generation) -> list[int]:
    """Replace the model's own sampling and penalty settings; return the ids that end a text."""
    own = parent.model.generation_config.eos_token_id
    ends = parent.tokenizer.eos_token_id if own is None else own
    stops: list[int] = ends if isinstance(ends, list) else [ends]
    sampled = how.temperature > 0
    parent.model.generation_config = GenerationConfig(
        max_new_tokens=how.max_new_tokens,
        do_sample=sampled,
        eos_token_id=stops,
        pad_token_id=stops[0],
        **({"temperature": how.temperature, "top_k": 0, "top_p": 1.0} if sampled else {}),
    )
    return stops


def generate(parent: Speaker, ids: list[int], stops: list[int], seed: str) -> list[int]:
    """The token ids of one answer, without its end.

    One prompt at a time: without padding or neighbours, a batch cannot change the rounding.
    """
    torch.manual_seed(int(seed[:15], 16))
    prompt = torch.tensor([ids], device=parent.model.device)
    with torch.no_grad():
        made = parent.model.generate(prompt, attention_mask=torch.ones_like(prompt))
    return [token for token in made[0, len(ids) :].tolist() if token not in stops]


def loss(reference: Speaker, ids: Sequence[int], start: int) -> float | None:
    """Mean loss of a text under the uncompressed model, nats a token; None where it is empty.

    Args:
        reference: the uncompressed model.
        ids: of the text.
        start: the id that stands before the first one.
    """
    if not ids:
        return None
    tokens = torch.tensor([[start, *ids]], device=reference.model.device)
    with torch.no_grad():
        logits = reference.model(tokens).logits[0, :-1].float()
    return float(torch.nn.functional.cross_entropy(logits, tokens[0, 1:]))


def start_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id to place before a text: the beginning-of-text id, or else an end-of-text id."""
    bos = tokenizer.bos_token_id
    return int(tokenizer.eos_token_id if bos is None else bos)


def answer(
    parent: Speaker,
    reference: Speaker,
    asked: Sequence[Prompt],
    how: Generation,
    seed: int,
    name: str,
) -> list[dict[str, Any]]:
    """The answer to every prompt."""
    encoded = encode(parent, asked, how.max_new_tokens)
    progress = process.Progress(f"{name} answers", "answer", len(asked))
    start, stops, found = start_of(reference.tokenizer), set_sampling(parent, how), []
    for prompt, ids in zip(asked, encoded, strict=True):
        made = generate(parent, ids, stops, files.digest([seed, prompt.id]))
        text = parent.tokenizer.decode(made, skip_special_tokens=True).strip()
        again = reference.tokenizer(text, add_special_tokens=False)["input_ids"]
        found.append(
            {
                "id": prompt.id,
                "text": text,
                "tokens": len(made),
                "ended": len(made) < how.max_new_tokens,
                "loss": loss(reference, again, start),
                "degenerate": proof.repeats_one_token(made) or not text,
            }
        )
        progress.update(len(found))
    return found


def write(args: argparse.Namespace, how: Generation) -> None:
    """Answer every prompt and write the answers.

    Args:
        args: checkpoint, reference, text, splits, seed, out, device, threads and costs.
        how: how answers are generated.

    Raises:
        HarnessError: there are too few prompts, or a prompt and its answer do not fit the model.
    """
    asked = prompts.read(args.text, args.splits, how.prompts)
    device = process.start(args.threads, device=args.device, compute=args.compute)
    costs = meter.Costs("answers", args.threads)
    parent, reference = load(args.checkpoint, device), load(args.reference, device)
    costs.loaded()
    found = answer(parent, reference, asked, how, args.seed, args.checkpoint.name)
    files.write_json(
        args.out,
        {
            "text": args.text.stem,
            "settings": how.model_dump(),
            "seed": args.seed if how.temperature else None,
            "checkpoint_sha256": parent.checkpoint.digest,
            "reference_sha256": reference.checkpoint.digest,
            "sample_sha256": prompts.sample(asked),
            "answers": found,
        },
    )
    costs.write(args.costs)
