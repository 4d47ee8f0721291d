"""Tiny models of both architectures, with the lab's tokenizer and text, as base checkpoints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lab import Lab, inside
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
)

from compression_order.architecture.demands import Assumed
from compression_order.assets import archives
from compression_order.methods.formulas import Context
from compression_order.text import chat

KINDS = ("llama", "qwen2")
# queries share heads, and the head is tied in one of the two and free in the other
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"num_attention_heads": 8, "num_key_value_heads": 4, "tie_word_embeddings": True},
    "qwen2": {"num_attention_heads": 8, "num_key_value_heads": 2, "tie_word_embeddings": False},
}


def model_of(kind: str, layers: int = 6, seed: int = 0) -> PreTrainedModel:
    """A model with random weights, biases and norms included, so that no two groups are alike."""
    config = AutoConfig.for_model(
        kind,
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        **SHAPES[kind],
    )
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
            elif "norm" in name:
                parameter.normal_(mean=1, std=0.1)
            elif "embed" not in name:
                parameter.normal_(std=0.08)
    return model.eval()


def base_of(lab: Lab, folder: Path, kind: str) -> Path:
    """A base checkpoint of such a model."""
    prepared, out = folder / f"{kind}.model", folder / kind / "base"
    model_of(kind).to(torch.bfloat16).save_pretrained(prepared)
    AutoTokenizer.from_pretrained(lab.base).save_pretrained(prepared)
    archives.write_model_record(prepared, {"kind": kind}, 0)
    inside("base", "--model", prepared, "--out", out, "--costs", folder / "costs")
    return out


def calibration(lab: Lab, seq_len: int = 160) -> list[chat.Encoded]:
    """The calibration split, cut."""
    tokenizer = AutoTokenizer.from_pretrained(lab.base)
    return chat.encode(tokenizer, chat.records(lab.chats, lab.splits, "calibration"), seq_len)


def flags(method: str, settings: Mapping[str, object]) -> list[str]:
    """The flags of a stage with these settings."""
    given = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    return [f"--method={method}", *given]


def around(on_quantized: str) -> Context:
    """What a plan knows of the lab around a stage."""
    return Context(
        on_quantized, {"train": 56}, calibration=8, on_gpu=False, number=2, assumed=Assumed()
    )


def run(
    lab: Lab, script: str, parent: Path, out: Path, stage_flags: Sequence[object]
) -> dict[str, Any]:
    """Run one stage in this process; its manifest."""
    from compression_order.common import files

    work = out.parent.with_name(f"{out.parent.name}.work") / out.name
    common = ["--parent", parent, "--out", out, "--pipeline", out.name, *lab.read()]
    aside = ["--work", work, "--costs", work / "costs", "--max-degenerate=1.0"]
    inside(script, *common, *aside, *stage_flags)
    manifest: dict[str, Any] = files.read_json(out / "checkpoint.json")
    return manifest
