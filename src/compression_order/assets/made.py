"""A tiny chat model made on the spot: the Llama architecture, a byte-level tokenizer.

A few seconds of training are enough for its perplexity to mean something. It stands in for the real
model in the smoke study and in tests, with the same chat template and file layout.
"""

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compression_order.assets import archives
from compression_order.common import files, process
from compression_order.common.errors import HarnessError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

# In this order, so that the ids 0, 1 and 2 mean what they mean in SmolLM2.
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
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


@dataclass(frozen=True)
class Asked:
    """What to make.

    Attributes:
        text: chat text to learn from; None: random weights and a tokenizer of bytes.
        splits: whose train part is learnt from; None: all of the text.
        layers: decoder layers.
        hidden: hidden channels.
        ffn: FFN neurons a layer.
        heads: attention heads.
        key_value_heads: heads that share keys and values.
        vocabulary: token ids.
        steps: of training, of 2048 tokens; 0: random weights.
        seed: of weights and batches.
    """

    text: Path | None
    splits: Path | None
    layers: int
    hidden: int
    ffn: int
    heads: int
    key_value_heads: int
    vocabulary: int
    steps: int
    seed: int

    @property
    def origin(self) -> dict[str, Any]:
        """What the model was made of, for asset.json."""
        its = asdict(self)
        digests = {key: its[key] and files.sha256(its[key]) for key in ("text", "splits")}
        return {**its, **digests}


def check(asked: Asked) -> None:
    """Refuse flags that no model can be made of, before anything is loaded."""
    if asked.hidden % asked.heads or asked.heads % asked.key_value_heads:
        raise HarnessError(
            f"--hidden {asked.hidden} --heads {asked.heads} --key-value-heads "
            f"{asked.key_value_heads}: each must be a multiple of the next; correct them"
        )
    if asked.steps and not asked.text:
        raise HarnessError(f"--steps {asked.steps} needs --text to train on; name it")


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


def random_model(asked: Asked) -> "LlamaForCausalLM":
    """A model in fp32 with random weights.

    Its vocabulary is `asked.vocabulary` even if the text was too short to fill the tokenizer's.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=asked.vocabulary,
        hidden_size=asked.hidden,
        intermediate_size=asked.ffn,
        num_hidden_layers=asked.layers,
        num_attention_heads=asked.heads,
        num_key_value_heads=asked.key_value_heads,
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
    progress = process.Progress("make_model", "step", steps)
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


def write(asked: Asked, threads: int, out: Path) -> None:
    """Make a model and write it, whole or not at all.

    Args:
        asked: what to make.
        threads: that torch may use.
        out: folder of the checkpoint.

    Raises:
        HarnessError: no model can be made of these numbers, or the text does not fit.
    """
    check(asked)
    import torch  # only now: a wrong flag is told at once

    process.start(threads, asked.seed)
    began = time.monotonic()
    chats = conversations(asked.text, asked.splits) if asked.text else []
    model = random_model(asked)
    tokenizer = chat_tokenizer(chats, asked.vocabulary, model.config.max_position_embeddings)
    if asked.steps:
        loss = train(model, token_stream(chats, tokenizer), asked.steps, asked.seed)
        took = time.monotonic() - began
        process.log.info("%s: train loss %.3f, %.1f s", out, loss, took)
    model.to(torch.bfloat16)
    with files.replacing(out) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        archives.write_model_record(folder, asked.origin, model.num_parameters())
