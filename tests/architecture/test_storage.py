"""The size formulas against the published sizes and against files as stored."""

import json
from pathlib import Path
from typing import Any

import pytest
from lab import Lab
from safetensors import safe_open
from transformers import LlamaConfig, PretrainedConfig, Qwen2Config

from compression_order.architecture import storage
from compression_order.checkpoint import disk
from compression_order.common import files

MIB = 2**20


def qwen(ffn: int) -> PretrainedConfig:
    """Qwen2.5-3B, with biases on queries, keys and values as Qwen2 always has."""
    return Qwen2Config(
        hidden_size=2048,
        num_hidden_layers=36,
        intermediate_size=ffn,
        num_attention_heads=16,
        num_key_value_heads=2,
        head_dim=128,
        vocab_size=151936,
        tie_word_embeddings=True,
    )


def smollm2(ffn: int = 1536) -> PretrainedConfig:
    return LlamaConfig(
        hidden_size=576,
        num_hidden_layers=30,
        intermediate_size=ffn,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
        tie_word_embeddings=True,
    )


@pytest.mark.parametrize(
    ("ffn", "parameters", "dense", "nf4"),
    [(11008, 3_085_938_688, 5886.0, 1959.2), (7706, 2_355_589_120, 4492.9, 1599.9)],
)
def test_the_published_sizes(ffn: int, parameters: int, dense: float, nf4: float) -> None:
    shape = disk.shape_of(qwen(ffn))
    assert shape.total == parameters
    assert len(shape.linears) == 36 * 7
    assert round(storage.dense_bytes(shape) / MIB, 1) == dense
    assert round(storage.nf4_bytes(shape) / MIB, 1) == nf4


def test_the_published_ratios() -> None:
    whole, pruned = disk.shape_of(qwen(11008)), disk.shape_of(qwen(7706))
    base = storage.dense_bytes(whole)
    assert round(base / storage.dense_bytes(pruned), 4) == 1.3100
    assert round(base / storage.nf4_bytes(whole), 4) == 3.0042
    assert round(base / storage.nf4_bytes(pruned), 4) == 3.6790


def test_smollm2() -> None:
    shape = disk.shape_of(smollm2())
    assert shape.total == 134_515_008
    assert storage.nf4_bytes(shape) == 111_691_056


def test_an_untied_head_counts() -> None:
    config = smollm2()
    config.tie_word_embeddings = False
    shape = disk.shape_of(config)
    assert shape.total == 134_515_008 + 49152 * 576
    assert shape.linears == disk.shape_of(smollm2()).linears


def test_one_linear_by_hand() -> None:
    # 64 x 65 = 4160 weights: 2080 bytes, 65 blocks of scales, one block of 256 of those
    assert storage.nf4_linear_bytes(4160) == 2080 + 65 + 4 + 1024 + 64
    # 1024 x 1024: 16,384 blocks, 64 blocks of those
    assert storage.nf4_linear_bytes(2**20) == 2**19 + 16384 + 256 + 1024 + 64


def take_apart(path: Path) -> tuple[int, int, int]:
    """(header, metadata tensors, all other tensors) of a file, counted tensor by tensor."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header: dict[str, Any] = json.loads(stream.read(length))
    spans = {n: e["data_offsets"] for n, e in header.items() if n != "__metadata__"}
    metadata = sum(b - a for n, (a, b) in spans.items() if ".quant_state." in n)
    return 8 + length, metadata, sum(b - a for a, b in spans.values()) - metadata


def agrees(folder: Path, analytic: int) -> None:
    path = folder / "model.safetensors"
    header, metadata, weights = take_apart(path)
    assert weights == analytic
    assert path.stat().st_size == analytic + header + metadata
    stored = disk.stored_bytes(path)
    assert (stored.header, stored.metadata, stored.weights) == (header, metadata, weights)
    recorded = files.read_json(folder / "checkpoint.json")["bytes"]
    assert recorded == {
        "model": path.stat().st_size,
        "analytic": analytic,
        "header": header,
        "metadata": metadata,
    }


def tiny(lab: Lab, ffn: int = 256) -> disk.Shape:
    config = files.read_json(lab.base / "config.json")
    return disk.shape_of(LlamaConfig(**config | {"intermediate_size": ffn}))


def test_stored_files_have_these_sizes_to_the_byte(lab: Lab, tmp_path: Path) -> None:
    agrees(lab.base, storage.dense_bytes(tiny(lab)))
    agrees(lab.quantized, storage.nf4_bytes(tiny(lab)))
    lab.stage(lab.quantized, tmp_path / "Q-P")
    agrees(tmp_path / "Q-P", storage.nf4_bytes(tiny(lab, 192)))
    lab.stage(lab.base, tmp_path / "P")
    agrees(tmp_path / "P", storage.dense_bytes(tiny(lab, 192)))


def test_the_metadata_is_one_tensor_a_quantized_linear(lab: Lab) -> None:
    with safe_open(lab.quantized / "model.safetensors", "pt") as stored:
        assert len(disk.quant_states(stored.keys())) == 2 * 7
    with safe_open(lab.base / "model.safetensors", "pt") as stored:
        assert disk.quant_states(stored.keys()) == []


def test_without_double_quantization(lab: Lab, tmp_path: Path) -> None:
    """One float32 scale a block of 64 instead of the nested int8 scales."""
    lab.stage(lab.base, tmp_path / "Q", "--double-quant=false")
    linears = sum(n // 2 + 4 * n // 64 + 4 * 16 for n in tiny(lab).linears)
    agrees(tmp_path / "Q", linears + 2 * tiny(lab).other)
