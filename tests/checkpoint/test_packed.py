"""Packed 4-bit codes: how they are stored, what they weigh, what a later stage does with them.

GPTQ and AWQ themselves run in the environment `quant` (tests/methods/test_llm_compressor.py); here
the base is rounded to the grid of its groups, which stores the same layout.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lab import SEQ_LEN, Lab, inside
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from compression_order import loading
from compression_order.architecture import storage
from compression_order.checkpoint import disk, forms, parents
from compression_order.checkpoint.forms import packed
from compression_order.checkpoint.stored import Checkpoint
from compression_order.common.errors import HarnessError
from compression_order.methods.nf4 import run as nf4

GROUP = 32


def round_to(form: packed.Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the quantizing stage store this form."""

    def apply(model: PreTrainedModel, *_: Any) -> tuple[packed.Packed, dict[str, Any]]:
        return form, {"quantized_linears": 14}

    monkeypatch.setattr(nf4, "apply", apply)


@pytest.fixture(params=[True, False], ids=["symmetric", "zero-points"])
def rounded(
    request: pytest.FixtureRequest, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The base in packed codes."""
    folder = tmp_path / "Q"
    with monkeypatch.context() as patch:
        round_to(packed.Packed(GROUP, request.param), patch)
        lab.stage(lab.base, folder)
    return folder


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "checkpoint.json").read_text())
    return found


def dense_state(folder: Path) -> dict[str, Tensor]:
    """Every weight of a quantized checkpoint in bf16."""
    checkpoint = Checkpoint(folder)
    assert checkpoint.form is not None
    return checkpoint.form.state(checkpoint.weights)


def by_hand(folder: Path, name: str) -> Tensor:
    """A weight from its codes: eight to an int32 word, the first in the lowest bits."""
    tensors = load_file(folder / "model.safetensors")
    rows, columns = tensors[f"{name}.weight_shape"].tolist()
    shifts = torch.arange(0, 32, 4)
    words = tensors[f"{name}.weight_packed"].long() & 0xFFFFFFFF
    codes = (words[..., None] >> shifts & 15).reshape(rows, columns) - 8
    zero = torch.zeros(rows, columns // GROUP, dtype=torch.long)
    if f"{name}.weight_zero_point" in tensors:
        down = tensors[f"{name}.weight_zero_point"].long().T & 0xFFFFFFFF
        zero = (down[..., None] >> shifts & 15).reshape(columns // GROUP, -1).T[:rows] - 8
    scale = tensors[f"{name}.weight_scale"].float()
    grouped = codes.reshape(rows, -1, GROUP) - zero[..., None]
    return (grouped * scale[..., None]).reshape(rows, columns)


def test_the_codes_are_what_the_layout_says(rounded: Path, lab: Lab) -> None:
    state = dense_state(rounded)
    base = load_file(lab.base / "model.safetensors")
    for name in ("model.layers.0.self_attn.k_proj", "model.layers.1.mlp.down_proj"):
        hand = by_hand(rounded, name)
        torch.testing.assert_close(state[f"{name}.weight"], hand.to(torch.bfloat16))
        weight = base[f"{name}.weight"].float()
        step = load_file(rounded / "model.safetensors")[f"{name}.weight_scale"].float()
        apart = (hand - weight).abs().reshape(*step.shape, GROUP).amax(-1)
        # half a step, and what the ends of the grid and bf16 scales lose
        assert bool((apart <= 0.6 * step).all()), float((apart / step).max())


def test_the_file_has_the_size_of_the_formula(rounded: Path) -> None:
    stored = disk.stored_bytes(rounded / "model.safetensors")
    symmetric = manifest(rounded)["quantization"]["symmetric"]
    linears = 0
    for rows, columns in [(64, 64), (32, 64), (32, 64), (64, 64), (256, 64), (256, 64), (64, 256)]:
        zero_points = 0 if symmetric else rows * columns // GROUP // 2
        linears += 2 * (rows * columns // 2 + 2 * rows * columns // GROUP + zero_points)
    assert stored.weights == linears + 2 * (512 * 64 + 5 * 64)
    assert stored.metadata == 14 * 16
    assert manifest(rounded)["bytes"]["analytic"] == stored.weights
    assert manifest(rounded)["format"] == "compressed-tensors"


def test_rows_that_fill_no_word_are_padded() -> None:
    # 9 rows of 16 columns in groups of 8: 2 words a row, 2 groups, zero points down 2 words
    assert storage.packed_linear_bytes(9, 16, 4, 8, symmetric=True) == 9 * 8 + 2 * 9 * 2
    assert storage.packed_linear_bytes(9, 16, 4, 8, symmetric=False) == 9 * 8 + 36 + 2 * 2 * 4


def test_plain_transformers_loads_it_with_the_same_logits(rounded: Path) -> None:
    ids = torch.arange(3, 43)[None]
    plain = AutoModelForCausalLM.from_pretrained(rounded).eval()
    own = Checkpoint(rounded).model(torch.bfloat16)
    with torch.no_grad():
        assert torch.equal(plain(ids).logits, own(ids).logits)


def test_a_stage_that_changes_nothing_changes_no_byte(
    rounded: Path, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compression_order.methods.ffn_neurons import run as ffn_neurons

    monkeypatch.setattr(ffn_neurons, "apply", lambda *_: {})
    again = lab.stage(rounded, tmp_path / "Q-P")
    assert again["parent_drift"] == 0.0
    assert again["claims"]["grids"] == {"given": 14, "fitted": 0}
    assert again["quantization"] == manifest(rounded)["quantization"]
    name = "model.safetensors"
    assert (tmp_path / "Q-P" / name).read_bytes() == (rounded / name).read_bytes()


def test_training_on_it_stays_on_its_grid(rounded: Path, lab: Lab, tmp_path: Path) -> None:
    trained = lab.stage(rounded, tmp_path / "Q-KD")
    assert trained["format"] == "compressed-tensors"
    assert trained["claims"]["grids"] == {"given": 14, "fitted": 0}
    before, after = (load_file(f / "model.safetensors") for f in (rounded, tmp_path / "Q-KD"))
    grids = [n for n in before if n.endswith(("weight_scale", "weight_zero_point"))]
    assert all(torch.equal(before[n], after[n]) for n in grids)
    changed = sum(int((before[n] != after[n]).sum()) for n in before if n.endswith("packed"))
    assert changed > 0
    dense = lab.stage(rounded, tmp_path / "dense" / "Q-KD", "--on-quantized=dequantize")
    assert dense["format"] == "dense"


def test_training_through_its_grid_and_beside_it(rounded: Path, lab: Lab, tmp_path: Path) -> None:
    grid = lab.stage(rounded, tmp_path / "grid" / "Q-KD", "--on-quantized=fake-quant")
    assert grid["claims"]["grids"] == {"given": 14, "fitted": 0}
    beside = lab.stage(rounded, tmp_path / "Q-KD", "--on-quantized=adapter", "--adapter.rank=2")
    assert beside["format"] == "compressed-tensors+lora"
    ids = torch.arange(3, 43)[None]
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "Q-KD").eval()
    own = parents.load(tmp_path / "Q-KD", "adapter", torch.bfloat16).model
    with torch.no_grad():
        assert torch.equal(plain(ids).logits, own(ids).logits)


def test_a_cut_linear_gets_a_new_grid(rounded: Path, lab: Lab, tmp_path: Path) -> None:
    cut = lab.stage(rounded, tmp_path / "Q-P")
    assert cut["claims"]["grids"] == {"given": 8, "fitted": 6}
    assert cut["architecture"]["ffn_widths"] == [192, 192]
    assert loading.pretrained(tmp_path / "Q-P").config.intermediate_size == 192


def test_a_layer_that_moves_up_keeps_its_own_grid(rounded: Path, lab: Lab, tmp_path: Path) -> None:
    """Removing a layer renames the later ones; each is rounded to what it was rounded to before."""
    flags = ["--method=shortgpt", "--layers=1", "--ratio=0", "--samples=4", f"--seq-len={SEQ_LEN}"]
    common = ["--parent", rounded, "--out", tmp_path / "Q-P", "--pipeline=Q-P", *lab.read()]
    aside = ["--work", tmp_path / "w", "--costs", tmp_path / "c", "--max-degenerate=1.0"]
    inside("prune", *common, *aside, *flags)
    claims = manifest(tmp_path / "Q-P")["claims"]
    assert claims["grids"] == {"given": 7, "fitted": 0}
    stays = 1 - claims["removed_layers"][0]
    before, after = dense_state(rounded), dense_state(tmp_path / "Q-P")
    for name in (n for n in after if "layers.0." in n):
        assert torch.equal(after[name], before[name.replace("layers.0.", f"layers.{stays}.")]), name


def test_a_cut_that_splits_a_group_is_refused(rounded: Path, lab: Lab, tmp_path: Path) -> None:
    words = r"group_size 32 does not divide the 200 columns of model.layers.0.mlp.down_proj; choose"
    with pytest.raises(HarnessError, match=words):
        lab.stage(rounded, tmp_path / "Q-P", "--round-to=8", "--ratio=0.21")
    assert not (tmp_path / "Q-P").exists()


def test_refuse_refuses(rounded: Path, lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"Q is quantized and the stage says `on_quantized"):
        lab.stage(rounded, tmp_path / "Q-P", "--on-quantized=refuse")


def test_an_unknown_format_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"quant_method 'gguf' is not known; delete the folder"):
        forms.of({"quantization_config": {"quant_method": "gguf"}}, tmp_path)
