"""A hub cache on a local disk: small models and data in the hub's own formats and layout.

What `studies/qwen2.5-3b.yaml` names is made here under the same repository names and commits, so
that the very study file runs on a CPU without a network: Qwen2-architecture models (biases on
queries, keys and values, grouped-query attention, a tied embedding for the student, a teacher
with more rows of vocabulary), sharded safetensors, parquet and gzipped JSON lines.
"""

import gzip
import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hub_fixtures
import pandas as pd
import torch
import yaml
from lab import ROOT, conversation, sentence
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from compression_order.assets.made import train_tokenizer

STUDY: dict[str, Any] = yaml.safe_load((ROOT / "studies/qwen2.5-3b.yaml").read_text())
ROWS = {"student": 576, "teacher": 608}  # of the embedding; the tokenizer knows 512 ids
LARGE = (".safetensors", ".parquet", ".gz")  # the hub keeps these by their SHA-256


def repository(cache: Path, kind: str, name: str, revision: str, folder: Path) -> None:
    """Put the files of `folder` into a cache as the hub's client lays it out."""
    root = cache / f"{kind}--{name.replace('/', '--')}"
    (root / "blobs").mkdir(parents=True, exist_ok=True)
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / "main").write_text(revision)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        digest = hashlib.sha256(content).hexdigest() if path.suffix in LARGE else git
        blob = root / "blobs" / digest
        blob.write_bytes(content)
        link = root / "snapshots" / revision / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(*[".."] * (len(link.relative_to(root).parts) - 1), "blobs", digest))


def tokenizer(chats: list[dict[str, Any]]) -> PreTrainedTokenizerFast:
    """A tokenizer with no template of its own marks, as a base model's."""
    return PreTrainedTokenizerFast(
        tokenizer_object=train_tokenizer([chat["messages"] for chat in chats], 512),
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    )


def model(rows: int, hidden: int, tied: bool, seed: int) -> Qwen2ForCausalLM:
    """A Qwen2 model of random weights: biases, one key-value head for two query heads."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=rows,
        hidden_size=hidden,
        intermediate_size=112,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,  # ifeval may generate 1280 tokens
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=0,
    )
    made = Qwen2ForCausalLM(config)
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):  # initialized to zero: a lost bias would go unseen
            torch.nn.init.normal_(parameter, std=0.1)
    return made


def learn(made: Qwen2ForCausalLM, ids: list[int], steps: int) -> None:
    """A few steps on the text, so that perplexity means something."""
    stream, optimizer = torch.tensor(ids), torch.optim.AdamW(made.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        starts = torch.randint(len(stream) - 64, (16, 1), generator=generator)
        batch = stream[starts + torch.arange(64)]
        made(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def make_models(cache: Path, aside: Path, chats: list[dict[str, Any]], steps: int) -> None:
    """Student and teacher, in bf16 and in several files."""
    its = tokenizer(chats)
    words = "\n".join(turn["content"] for chat in chats for turn in chat["messages"])
    ids = its(words)["input_ids"]
    for key, rows, hidden, tied in (
        ("model", ROWS["student"], 64, True),
        ("teacher", ROWS["teacher"], 96, False),
    ):
        made, folder = model(rows, hidden, tied, seed=hidden), aside / key
        learn(made, ids, steps)
        made.to(torch.bfloat16).save_pretrained(folder, max_shard_size="150KB")
        its.save_pretrained(folder)
        (folder / "README.md").write_text("---\nlicense: other\n---\nmade for a test\n")
        repository(cache, "models", STUDY[key]["hub"], STUDY[key]["revision"], folder)


def chat_rows(chats: list[dict[str, Any]]) -> pd.DataFrame:
    """Conversations with the columns of UltraChat 200k."""
    return pd.DataFrame(
        [
            {
                "prompt": chat["messages"][0]["content"],
                "prompt_id": f"{number:064x}",
                "messages": chat["messages"],
            }
            for number, chat in enumerate(chats)
        ]
    )


def make_texts(cache: Path, aside: Path, chats: list[dict[str, Any]], rng: random.Random) -> None:
    """UltraChat, WikiText and C4 under their own file names and columns."""
    ultrachat, wikitext, c4 = (aside / name for name in ("ultrachat", "wikitext", "c4"))
    for part in (ultrachat / "data", wikitext / "wikitext-2-raw-v1", c4 / "en"):
        part.mkdir(parents=True)
    half = len(chats) // 4
    for name, rows in (
        ("train_sft-00000-of-00002-a.parquet", chats[half : 2 * half]),
        ("train_sft-00001-of-00002-b.parquet", chats[2 * half :]),
        ("test_sft-00000-of-00001-c.parquet", chats[:half]),
    ):
        chat_rows(rows).to_parquet(ultrachat / "data" / name)
    lines = [t for _ in range(40) for t in ("", " = Heading = \n", f" {sentence(rng)} \n")]
    test = wikitext / "wikitext-2-raw-v1" / "test-00000-of-00001.parquet"
    pd.DataFrame({"text": lines}).to_parquet(test)
    pages = [{"text": " ".join(sentence(rng) for _ in range(8)), "url": "u"} for _ in range(12)]
    packed = c4 / "en" / "c4-validation.00000-of-00008.json.gz"
    packed.write_bytes(
        gzip.compress("".join(json.dumps(p) + "\n" for p in pages).encode(), mtime=0)
    )
    texts: Mapping[str, Any] = STUDY["text"]
    for name, folder in (("ultrachat", ultrachat), ("wikitext2", wikitext), ("c4", c4)):
        entry = texts[name]
        repository(cache, "datasets", entry["hub"], entry["revision"], folder)


def make_datasets(cache: Path, aside: Path) -> None:
    """What the tasks read, in the datasets' own files."""
    for name, pin in STUDY["datasets"].items():
        revision = pin if isinstance(pin, str) else pin["revision"]
        folder = aside / name
        folder.mkdir(parents=True)
        hub_fixtures.SNAPSHOTS[name](folder)
        repository(cache, "datasets", name, revision, folder)


def make(home: Path, steps: int = 60) -> Path:
    """Fill `home` (HF_HOME) with everything the study names; gives it back."""
    torch.set_num_threads(1)  # tiny products: more threads only wait for each other
    rng = random.Random(7)
    chats = [conversation(number, rng) for number in range(96)]
    aside = home / "aside"
    make_models(home / "hub", aside, chats, steps)
    make_texts(home / "hub", aside, chats, rng)
    make_datasets(home / "hub", aside)
    return home
