"""LLM.int8 by bitsandbytes on this machine's CPU: storage, size, what loading gives."""

from pathlib import Path

import bitsandbytes.functional as bnb
import pytest
import torch
from lab import Lab
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from compression_order.checkpoint import disk
from compression_order.checkpoint.forms import int8
from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import files
from compression_order.common.errors import HarnessError

METHOD = "--method=int8"


def test_storage_is_a_byte_a_weight_and_a_scale_a_row(lab: Lab, tmp_path: Path) -> None:
    manifest = lab.stage(lab.base, tmp_path / "Q", METHOD)
    assert manifest["format"] == "bnb-int8"
    assert manifest["quantization"] == {"threshold": 6.0}
    assert manifest["claims"]["quantized_linears"] == 14
    stored = disk.stored_bytes(tmp_path / "Q" / "model.safetensors")
    rows = 64 + 32 + 32 + 64 + 256 + 256 + 64
    weights = 64 * (64 + 32 + 32 + 64 + 3 * 256)
    assert stored.weights == 2 * (weights + 4 * rows) + 2 * (512 * 64 + 5 * 64)
    assert stored.metadata == 14
    base = load_file(lab.base / "model.safetensors")
    for name, weight in int8.dequantized(tmp_path / "Q" / "model.safetensors").items():
        if "proj" in name:
            step = base[name].float().abs().amax(1, keepdim=True) / 127
            # half a step of the grid, and the rounding of the largest weights to bf16
            apart = (weight.float() - base[name].float()).abs()
            assert bool((apart <= 0.5 * step + 127 * step / 2**8).all()), name


def test_the_kernels_and_the_dequantized_copy(lab: Lab, tmp_path: Path) -> None:
    """The kernels round activations to 8 bits as well: close, not equal."""
    lab.stage(lab.base, tmp_path / "Q", METHOD)
    ids = torch.arange(3, 43)[None]
    with torch.no_grad():
        own = AutoModelForCausalLM.from_pretrained(tmp_path / "Q").eval()(ids).logits.float()
        copy = Checkpoint(tmp_path / "Q").model(torch.bfloat16)(ids).logits.float()
    p, q = own.log_softmax(-1), copy.log_softmax(-1)
    assert float((p.exp() * (p - q)).sum(-1).mean()) < 2e-3


def test_quantizing_again_changes_next_to_nothing(lab: Lab, tmp_path: Path) -> None:
    lab.stage(lab.base, tmp_path / "Q", METHOD)
    again = lab.stage(tmp_path / "Q", tmp_path / "Q-Q", METHOD)
    once, twice = (load_file(tmp_path / n / "model.safetensors") for n in ("Q", "Q-Q"))
    codes = [name for name, tensor in once.items() if tensor.dtype == torch.int8]
    assert len(codes) == 14
    assert all(torch.equal(once[name], twice[name]) for name in codes)
    assert again["parent_drift"] < 1e-3


def test_a_parent_in_8_bits(lab: Lab, tmp_path: Path) -> None:
    lab.stage(lab.base, tmp_path / "Q", METHOD)
    pruned = lab.stage(tmp_path / "Q", tmp_path / "Q-P")
    assert pruned["format"] == "bnb-int8"
    assert pruned["architecture"]["ffn_widths"] == [192, 192]
    assert files.read_json(tmp_path / "Q-P" / "config.json")["intermediate_size"] == 192


def test_where_the_library_cannot_one_sentence_says_so(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise NotImplementedError("no kernel for this device\nmore")

    monkeypatch.setattr(bnb, "int8_vectorwise_quant", fail)
    words = r"^method int8: bitsandbytes cannot quantize to 8 bits on this cpu \(no kernel for this"
    with pytest.raises(HarnessError, match=words):
        lab.stage(lab.base, tmp_path / "Q", METHOD)
    assert not (tmp_path / "Q").exists()


@pytest.mark.parametrize("on_quantized", ["adapter", "fake-quant"])
def test_training_beside_it_and_through_its_grid(
    on_quantized: str, lab: Lab, tmp_path: Path
) -> None:
    lab.stage(lab.base, tmp_path / "Q", METHOD)
    trained = lab.stage(tmp_path / "Q", tmp_path / "Q-KD", f"--on-quantized={on_quantized}")
    assert trained["format"] == "bnb-int8" + ("+lora" if on_quantized == "adapter" else "")
    assert trained["claims"]["finite_logits"]
