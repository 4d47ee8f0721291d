r"""python src/make_model.py --text assets/text/alpaca.jsonl --splits results/smoke/splits.json \
    --layers 2 --hidden 64 --ffn 256 --heads 4 --key-value-heads 2 --vocabulary 512 \
    --steps 200 --seed 0 --out assets/models/tiny

Make a tiny chat model of the Llama architecture: a byte-level tokenizer and a few seconds of
training on the train split, enough for its perplexity to mean something. It stands in for the
real model in the smoke study and in tests, with the same chat template and file layout. With
`--steps 0` the weights are random; without `--text` as well the tokenizer knows bytes only.
"""

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compression_order import assets, errors, files, runtime
from compression_order.errors import HarnessError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

# In this order, so that the ids 0, 1 and 2 mean what they mean in SmolLM2.
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
BYTES = 256
SEQUENCE, BATCH, LEARNING_RATE = 128, 16, 3.0e-3

# ChatML as SmolLM2-Instruct has it, its system message included.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
    data = parser.add_argument_group("data")
    data.add_argument("--text", type=Path, help="chat text, JSON lines (none: --steps 0 only)")
    data.add_argument("--splits", type=Path, help="splits.json; its train part (none: all of it)")
    size = parser.add_argument_group("architecture")
    size.add_argument("--layers", type=int, default=2, help="decoder layers (default 2)")
    size.add_argument("--hidden", type=int, default=64, help="hidden channels (default 64)")
    size.add_argument("--ffn", type=int, default=256, help="FFN neurons a layer (default 256)")
    size.add_argument("--heads", type=int, default=4, help="attention heads (default 4)")
    size.add_argument("--key-value-heads", type=int, default=2, help="shared heads (default 2)")
    size.add_argument("--vocabulary", type=int, default=512, help="token ids (default 512)")
    work = parser.add_argument_group("work")
    work.add_argument("--steps", type=int, default=200, help="training steps of 2048 tokens")
    work.add_argument("--seed", type=int, default=0, help="weights and batches (default 0)")
    work.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    return parser.parse_args()


def check(args: argparse.Namespace) -> None:
    """Refuse flags that no model can be made of, before anything is loaded."""
    if args.hidden % args.heads or args.heads % args.key_value_heads:
        raise HarnessError(
            f"--hidden {args.hidden} --heads {args.heads} --key-value-heads "
            f"{args.key_value_heads}: each must be a multiple of the next; correct them"
        )
    if args.vocabulary < BYTES + len(SPECIALS):
        raise HarnessError(
            f"--vocabulary {args.vocabulary}: {BYTES} bytes and {len(SPECIALS)} marks need "
            f"{BYTES + len(SPECIALS)} ids; ask for more"
        )
    if args.steps and not args.text:
        raise HarnessError(f"--steps {args.steps} needs --text to train on; name it")


def conversations(text: Path, splits: Path | None) -> list[list[dict[str, str]]]:
    """The conversations to learn from: the train part of the splits, or the whole text.

    Raises:
        HarnessError: the splits were drawn from another text.
    """
    records = files.read_lines(text)
    if splits is None:
        return [record["messages"] for record in records]
    split = files.read_json(splits)
    if split["sha256"]["train"] != files.sha256(text):
        raise HarnessError(f"{splits} was not drawn from {text}; run src/split_text.py again")
    return [records[index]["messages"] for index in split["train"]]


def train_tokenizer(chats: list[list[dict[str, str]]], vocabulary: int) -> "Tokenizer":
    """A byte-level BPE tokenizer: every text can be written, digits stand alone as in SmolLM2."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((turn["content"] for chat in chats for turn in chat), trainer)
    return tokenizer


def chat_tokenizer(
    chats: list[list[dict[str, str]]], vocabulary: int, window: int
) -> "PreTrainedTokenizerFast":
    """The tokenizer with its marks, its chat template and its longest input (`window` tokens)."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=train_tokenizer(chats, vocabulary),
        unk_token=SPECIALS[0],
        bos_token=SPECIALS[1],
        eos_token=SPECIALS[2],
        pad_token=SPECIALS[2],
        chat_template=CHAT_TEMPLATE,
        model_max_length=window,
    )


def random_model(args: argparse.Namespace) -> "LlamaForCausalLM":
    """A model in fp32 with random weights.

    Its vocabulary is `args.vocabulary` even if the text was too short to fill the tokenizer's.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=args.vocabulary,
        hidden_size=args.hidden,
        intermediate_size=args.ffn,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.key_value_heads,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    return LlamaForCausalLM(config)


def train(model: "LlamaForCausalLM", stream: "Tensor", steps: int, seed: int) -> float:
    """Next-token training on random windows of a token stream, in place.

    Args:
        model: in fp32.
        stream: shape (tokens,), all conversations one after the other.
        steps: how many, of 16 windows of 128 tokens.
        seed: of the choice of windows.

    Returns:
        The mean loss of the last tenth of the steps, nats a token.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    progress = runtime.Progress("make_model", "step", steps)
    losses = []
    model.train()
    for step in range(1, steps + 1):
        starts = torch.randint(len(stream) - SEQUENCE, (BATCH, 1), generator=generator)
        batch = stream[starts + torch.arange(SEQUENCE)]
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        progress.update(step, f"loss {losses[-1]:.2f}")
    last = losses[-max(1, steps // 10) :]
    return math.fsum(last) / len(last)


def token_stream(
    chats: list[list[dict[str, str]]], tokenizer: "PreTrainedTokenizerFast"
) -> "Tensor":
    """All conversations in the chat template, as one tensor of token ids."""
    import torch

    texts = [str(tokenizer.apply_chat_template(chat, tokenize=False)) for chat in chats]
    ids = [token for encoded in tokenizer(texts)["input_ids"] for token in encoded]
    if len(ids) <= SEQUENCE:
        raise HarnessError(f"--text has {len(ids)} tokens to train on, {SEQUENCE + 1} are needed")
    return torch.tensor(ids)


def source(args: argparse.Namespace) -> dict[str, Any]:
    """What the model was made of, for asset.json."""
    flags = {key: value for key, value in vars(args).items() if key not in ("out", "threads")}
    for key in ("text", "splits"):
        flags[key] = flags[key] and files.sha256(flags[key])
    return flags


def main() -> None:
    args = parse_args()
    check(args)
    import torch  # only now: a wrong flag is told at once

    runtime.start(args.threads, args.seed)
    began = time.monotonic()
    chats = conversations(args.text, args.splits) if args.text else []
    model = random_model(args)
    tokenizer = chat_tokenizer(chats, args.vocabulary, model.config.max_position_embeddings)
    if args.steps:
        loss = train(model, token_stream(chats, tokenizer), args.steps, args.seed)
        took = time.monotonic() - began
        runtime.log.info("%s: train loss %.3f, %.1f s", args.out, loss, took)
    model.to(torch.bfloat16)
    with files.replacing(args.out) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        assets.write_model_record(folder, source(args), model.num_parameters())


if __name__ == "__main__":
    errors.run(main)
