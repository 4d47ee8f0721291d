"""Let one checkpoint answer the prompts of a study, once: a judge reads the stored answers.

Greedy, or sampled with a seed of its own for every prompt. An answer never contains its prompt.

    python src/write_answers.py --checkpoint results/smollm2-135m/seed0/checkpoints/P \\
        --reference results/smollm2-135m/seed0/checkpoints/base \\
        --text assets/text/alpaca.jsonl --splits results/smollm2-135m/splits.json \\
        --prompts 48 --max-new-tokens 128 \\
        --out results/smollm2-135m/seed0/evaluations/P/answers.json
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from compression_order import chat, claims, errors, files, parents, runtime, schema, settings
from compression_order.errors import HarnessError
from compression_order.judging import prompts
from compression_order.judging.options import Answering
from compression_order.judging.prompts import Prompt
from compression_order.parents import Parent


def parse_args() -> argparse.Namespace:
    """The command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = settings.Parser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="folder of the checkpoint")
    add("--reference", type=Path, required=True, help="the base's checkpoint, which tells fluency")
    add("--text", type=Path, required=True, help="chat text, JSON lines")
    add("--splits", type=Path, help="take the held-out split of the text (default: all of it)")
    add("--seed", type=int, default=0, help="of the draws, where answers are sampled (default: 0)")
    add("--out", type=Path, required=True, help="JSON file to write")
    settings.add_flags(parser, Answering, "answering")
    settings.add_device(parser)
    add("--threads", type=int, default=1, help="CPU threads (default: 1)")
    add("--costs", type=Path, default=Path("work/costs"), help="folder for the times taken")
    return parser.parse_args(sys.argv[1:])


def encode(parent: Parent, asked: Sequence[Prompt], more: int) -> list[list[int]]:
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


def set_sampling(parent: Parent, how: Answering) -> list[int]:
    """Replace what the model's own files say of sampling and penalties; the ids that end a text."""
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


def generate(parent: Parent, ids: list[int], stops: list[int], seed: str) -> list[int]:
    """The token ids of one answer, without its end.

    One prompt at a time: no padding, and no neighbour in the batch changes a rounding.
    """
    torch.manual_seed(int(seed[:15], 16))
    prompt = torch.tensor([ids], device=parent.model.device)
    with torch.no_grad():
        made = parent.model.generate(prompt, attention_mask=torch.ones_like(prompt))
    return [token for token in made[0, len(ids) :].tolist() if token not in stops]


def loss(reference: Parent, ids: Sequence[int], start: int) -> float | None:
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
    """The id before the first of a text: its beginning, or the end of another."""
    bos = tokenizer.bos_token_id
    return int(tokenizer.eos_token_id if bos is None else bos)


def answer(
    parent: Parent, reference: Parent, asked: Sequence[Prompt], how: Answering, seed: int, name: str
) -> list[dict[str, Any]]:
    """The answer to every prompt."""
    encoded = encode(parent, asked, how.max_new_tokens)
    progress = runtime.Progress(f"{name} answers", "answer", len(asked))
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
                "degenerate": claims.repeats_one_token(made) or not text,
            }
        )
        progress.update(len(found))
    return found


def main() -> None:
    args = parse_args()
    how = Answering(args.prompts, args.max_new_tokens, args.temperature)
    described = schema.method_schema("answering")
    schema.validate(asdict(how), described | {"required": []}, "command line")
    asked = prompts.read(args.text, args.splits, how.prompts)
    device = runtime.start(args.threads, device=args.device)
    costs = runtime.Costs("answers", args.threads)
    # an adapter answers where it lies, beside the weights, as in the other evaluations
    parent = parents.load(args.checkpoint, "adapter", torch.bfloat16, device)
    reference = parents.load(args.reference, "adapter", torch.bfloat16, device)
    costs.loaded()
    found = answer(parent, reference, asked, how, args.seed, args.checkpoint.name)
    files.write_json(
        args.out,
        {
            "text": args.text.stem,
            "settings": asdict(how),
            "seed": args.seed if how.temperature else None,
            "checkpoint_sha256": parent.digest,
            "reference_sha256": reference.digest,
            "sample_sha256": prompts.sample(asked),
            "answers": found,
        },
    )
    costs.write(args.costs)


if __name__ == "__main__":
    errors.run(main)
