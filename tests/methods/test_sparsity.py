"""Zeroing single weights: shares, patterns, a second pass; by magnitude, which reads no text."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lab import Lab, inside
from safetensors.torch import load_file
from torch import Tensor

from compression_order.checkpoint import masks
from compression_order.checkpoint.stored import Checkpoint
from compression_order.common.errors import HarnessError
from compression_order.methods import zeroing
from compression_order.methods.magnitude import run as magnitude
from compression_order.text import chat


def prune(lab: Lab, parent: Path, out: Path, *flags: str) -> dict[str, Any]:
    """A magnitude pruning; the lab's ratio and length are settings of another method."""
    work = out.parent / "work"
    common = ["--parent", parent, "--out", out, "--pipeline", out.name, *lab.read()]
    aside = ["--work", work, "--costs", work / "costs", "--max-degenerate=1.0"]
    inside("prune", *common, *aside, "--method=magnitude", *flags)
    found: dict[str, Any] = json.loads((out / "checkpoint.json").read_text())
    return found


def weights(folder: Path) -> dict[str, Tensor]:
    state = load_file(folder / "model.safetensors")
    return {name: tensor for name, tensor in state.items() if "proj" in name}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_smallest_weights_of_every_linear_go(share: float, lab: Lab, tmp_path: Path) -> None:
    manifest = prune(lab, lab.base, tmp_path / "M", f"--sparsity={share}")
    base, pruned = weights(lab.base), weights(tmp_path / "M")
    for name, weight in pruned.items():
        zero = weight == 0
        assert int(zero.sum()) == round(share * weight.numel()), name
        assert float(base[name][zero].abs().max()) <= float(base[name][~zero].abs().min())
        assert torch.equal(weight[~zero], base[name][~zero])
    assert manifest["claims"]["sparsity"]["asked"] == [share, share]
    assert manifest["claims"]["zeros"]["retained"] == 1.0
    zeros = manifest["parameters"]["total"] - manifest["parameters"]["nonzero"]
    assert zeros == manifest["claims"]["zeros"]["weights"]


@pytest.mark.parametrize(("pattern", "left", "of"), [("2:4", 2, 4), ("4:8", 4, 8), ("1:4", 1, 4)])
def test_a_pattern(pattern: str, left: int, of: int, lab: Lab, tmp_path: Path) -> None:
    prune(lab, lab.base, tmp_path / "M", f"--pattern={pattern}", f"--sparsity={1 - left / of}")
    for name, weight in weights(tmp_path / "M").items():
        stays = (weight != 0).unflatten(1, (-1, of)).sum(-1)
        assert set(stays.unique().tolist()) == {left}, name


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_twice_means_twice(share: float, lab: Lab, tmp_path: Path) -> None:
    asked = f"--sparsity={share}"
    prune(lab, lab.base, tmp_path / "M", asked)
    twice = prune(lab, tmp_path / "M", tmp_path / "M-M", asked)
    expected = 1 - (1 - share) ** 2
    for name, weight in weights(tmp_path / "M-M").items():
        assert abs(float((weight == 0).float().mean()) - expected) < 1e-3, name
        assert not weight[weights(tmp_path / "M")[name] == 0].any()
    assert twice["claims"]["zeros"]["share"] == pytest.approx(expected, abs=1e-3)


def test_the_published_second_pass_does_nothing(lab: Lab, tmp_path: Path) -> None:
    prune(lab, lab.base, tmp_path / "M")
    prune(lab, tmp_path / "M", tmp_path / "M-M", "--again=published-no-op")
    name = "model.safetensors"
    assert (tmp_path / "M-M" / name).read_bytes() == (tmp_path / "M" / name).read_bytes()


def test_a_pattern_again_halves_what_is_left(lab: Lab, tmp_path: Path) -> None:
    half = "--pattern=2:4"
    prune(lab, lab.base, tmp_path / "M", half)
    prune(lab, tmp_path / "M", tmp_path / "M-M", half)
    for name, weight in weights(tmp_path / "M-M").items():
        assert set((weight != 0).unflatten(1, (-1, 4)).sum(-1).unique().tolist()) == {1}, name
    with pytest.raises(HarnessError, match=r"pattern 2:4 again leaves no weight of every 4; the"):
        prune(lab, tmp_path / "M-M", tmp_path / "M-M-M", half)


@pytest.mark.parametrize("method", ["nf4", "int8"])
def test_zeros_survive_quantization_training_and_requantization(
    method: str, lab: Lab, tmp_path: Path
) -> None:
    prune(lab, lab.base, tmp_path / "M")
    zero = {name: weight == 0 for name, weight in weights(tmp_path / "M").items()}
    quantized = lab.stage(tmp_path / "M", tmp_path / "M-Q", f"--method={method}")
    trained = lab.stage(tmp_path / "M-Q", tmp_path / "M-Q-KD")
    for folder, manifest in (("M-Q", quantized), ("M-Q-KD", trained)):
        model = Checkpoint(tmp_path / folder).model(torch.bfloat16)
        for name, mask in zero.items():
            assert not model.get_parameter(name)[mask].any(), (folder, name)
        assert manifest["claims"]["zeros"]["retained"] == 1.0


def test_recovery_keeps_the_zeros(lab: Lab, tmp_path: Path) -> None:
    flags = ["--recovery.steps=4", "--recovery.learning-rate=1e-2", "--recovery.seq-len=160"]
    prune(lab, lab.base, tmp_path / "M")
    prune(lab, lab.base, tmp_path / "R" / "M", *flags)
    for name, weight in weights(tmp_path / "R" / "M").items():
        before = weights(tmp_path / "M")[name]
        assert torch.equal(weight == 0, before == 0), name
        assert not torch.equal(weight, before)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--sparsity=0"], r"sparsity.*greater than 0"),
        (["--sparsity=1"], r"sparsity.*less than 1"),
        (["--pattern=3:5", "--sparsity=0.4"], r"pattern 3:5: 5 does not divide the 64 columns of"),
        (["--pattern=4:4"], r"pattern 4:4 keeps 4 of every 4 weights; it must keep some and not"),
        (["--pattern=1:4"], r"sparsity 0.5 is not that of pattern 1:4, which is 0.75; write"),
        (["--pattern=half"], r"pattern"),
    ],
)
def test_bad_settings(flags: list[str], words: str, lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=words):
        prune(lab, lab.base, tmp_path / "M", *flags)
    assert not (tmp_path / "M").exists()


def test_a_method_that_zeroes_too_little_fails(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(magnitude, "zeroed", lambda weight, *_: weight.clone())
    words = r"model.layers.0.self_attn.q_proj: 0.0000 of the weights are zero, 0.5000 are asked"
    with pytest.raises(HarnessError, match=words):
        prune(lab, lab.base, tmp_path / "M")


def test_a_stored_file_with_fewer_zeros_fails(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require = zeroing.require

    def forget(*args: Any) -> dict[str, Any]:
        found = require(*args)
        linear = dict(masks.linears(args[0]))["model.layers.1.mlp.up_proj"]
        linear.weight.data += 1
        del linear.pruned
        return found

    monkeypatch.setattr(zeroing, "require", forget)
    with pytest.raises(HarnessError, match=r"M: the lowest share of zeros in a linear is 0.0, the"):
        prune(lab, lab.base, tmp_path / "M")


def documents(*lengths: int) -> list[chat.Encoded]:
    ids = iter(range(10_000))
    made = [[next(ids) for _ in range(length)] for length in lengths]
    return [chat.Encoded(i, row, row) for i, row in enumerate(made)]


def test_windows_are_the_text_in_its_order() -> None:
    found = chat.windows(documents(5, 9, 4), 8)
    assert found.tolist() == [list(range(8)), list(range(8, 16))]
    assert chat.windows(documents(5, 9, 4), 8, 1).tolist() == [list(range(8))]


@pytest.mark.parametrize(("seq_len", "most"), [(32, 0), (8, 3)])
def test_a_text_shorter_than_its_windows(seq_len: int, most: int) -> None:
    words = rf"^the calibration split has 18 tokens, fewer than {most or 1} windows of seq_len"
    with pytest.raises(HarnessError, match=words):
        chat.windows(documents(5, 9, 4), seq_len, most)
