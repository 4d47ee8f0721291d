"""Stages that do not do what they claim: each fails with a number and leaves nothing behind."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lab import Lab
from torch import Tensor
from transformers import BitsAndBytesConfig, PreTrainedModel

from compression_order.checkpoint import proof
from compression_order.checkpoint.forms.nf4 import Nf4
from compression_order.common.errors import HarnessError
from compression_order.methods.ffn_neurons import run as ffn_neurons
from compression_order.methods.nf4 import run as nf4
from compression_order.training import loop


def fails(lab: Lab, tmp_path: Path, name: str, words: str, *flags: str) -> None:
    """Run a stage that must fail with `words`, and leave no file and no folder aside."""
    parent = lab.quantized if name.startswith("Q-") else lab.base
    out = tmp_path / "checkpoints" / name
    before = {path: path.stat().st_mtime_ns for path in parent.iterdir()}
    with pytest.raises(HarnessError, match=words) as fault:
        lab.stage(parent, out, *flags)
    sentence = str(fault.value)
    assert "\n" not in sentence
    assert not out.exists()
    if out.parent.exists():
        assert list(out.parent.iterdir()) == []
    assert {path: path.stat().st_mtime_ns for path in parent.iterdir()} == before


def after(apply: Callable[..., Any], harm: Callable[[PreTrainedModel], None]) -> Callable[..., Any]:
    """A method's `apply` that then harms the model."""

    def harmed(model: PreTrainedModel, *rest: Any) -> Any:
        result = apply(model, *rest)
        harm(model)
        return result

    return harmed


@pytest.mark.parametrize("name", ["P", "Q-P"])
def test_a_pruning_that_returns_the_model_unchanged(
    name: str, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffn_neurons, "cut", lambda *_: None)
    fails(lab, tmp_path, name, r"ffn_widths is \[256, 256\], the stage claims \[192, 192\]")


def test_a_pruning_of_one_layer_too_few(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers refuses to load widths that differ from layer to layer: no checkpoint."""
    whole = ffn_neurons.blocks
    monkeypatch.setattr(ffn_neurons, "blocks", lambda model: whole(model)[:1])
    out = tmp_path / "checkpoints" / "P"
    with pytest.raises((HarnessError, RuntimeError), match=r"mismatched|ffn_widths"):
        lab.stage(lab.base, out)
    assert list(out.parent.iterdir()) == []


def spoil_one_weight(model: PreTrainedModel) -> None:
    model.base_model.layers[1].mlp.down_proj.weight.data[3, 5] = math.nan


def spoil_one_layer(model: PreTrainedModel) -> None:
    model.base_model.layers[0].self_attn.o_proj.weight.data.fill_(math.nan)


@pytest.mark.parametrize("harm", [spoil_one_weight, spoil_one_layer])
@pytest.mark.parametrize("name", ["P", "Q-P", "Q", "Q-Q"])
def test_weights_that_are_not_numbers(
    name: str,
    harm: Callable[[PreTrainedModel], None],
    lab: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = ffn_neurons if name.endswith("P") else nf4
    monkeypatch.setattr(method, "apply", after(method.apply, harm))
    fails(lab, tmp_path, name, r"\d+ .*not finite")


def skipping(*modules: str) -> Callable[[Nf4], BitsAndBytesConfig]:
    """A configuration that leaves some linears as they are."""

    def config(form: Nf4) -> BitsAndBytesConfig:
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=form.double_quant,
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=["lm_head", *modules],
        )

    return config


def test_a_quantizer_that_skips_layers(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Nf4, "config", skipping("down_proj"))
    fails(lab, tmp_path, "Q", r"quantized_linears is 12, the stage claims 14")


def test_a_requantization_that_skips_layers(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pruning claims no 4-bit linears of its own: the size gives it away."""
    monkeypatch.setattr(Nf4, "config", skipping("v_proj"))
    fails(lab, tmp_path, "Q-P", r"\d+ bytes of weights, the formula gives \d+")


@pytest.mark.parametrize("name", ["P", "Q-P"])
def test_a_training_that_diverges(
    name: str, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def objective(hidden: Tensor, head: Tensor, batch: Any, step: Any) -> Tensor:
        done.append(1)
        return own(hidden, head, batch, step) * (math.nan if len(done) == 3 else 1.0)

    own = loop.next_token
    monkeypatch.setattr(loop, "next_token", objective)
    flags = ["--recovery.steps=5", "--recovery.seq-len=160", "--snapshot-seconds=999"]
    fails(lab, tmp_path, name, r"the loss of step 3 is nan; lower learning_rate \(5e-05\)", *flags)


def silence(model: PreTrainedModel) -> None:
    """All logits equal: greedy decoding repeats id 0."""
    model.base_model.norm.weight.data.zero_()


@pytest.mark.parametrize("name", ["P", "Q-P", "Q"])
def test_a_model_that_repeats_one_token(
    name: str, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = ffn_neurons if name.endswith("P") else nf4
    monkeypatch.setattr(method, "apply", after(method.apply, silence))
    words = r"100% of the greedy answers are empty or one repeated token.*\(50%\)"
    fails(lab, tmp_path, name, words, "--max-degenerate=0.5")


def test_an_answer_that_ends_at_once_is_degenerate() -> None:
    """The end of turn pads, so an empty answer is nothing but padding."""
    assert proof._degenerate([2, 2, 2, 2], pad=2)
    assert proof._degenerate([7, 7, 7, 2], pad=2)
    assert not proof._degenerate([7, 8, 7, 8], pad=2)
    assert not proof._degenerate([7, 2, 2, 2], pad=2)  # one word may be the answer


def test_a_failed_stage_leaves_an_older_checkpoint_as_it_was(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "checkpoints" / "P"
    lab.stage(lab.base, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(ffn_neurons, "cut", lambda *_: None)
    with pytest.raises(HarnessError):
        lab.stage(lab.base, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in out.parent.iterdir()] == ["P"]


def test_damaged_parents_are_refused(lab: Lab, tmp_path: Path) -> None:
    """A truncated file, a missing one, and a manifest that disagrees with its weights."""
    for harm in ("truncate", "remove", "replace"):
        parent = tmp_path / harm / "P"
        lab.stage(lab.base, parent)
        weights = parent / "model.safetensors"
        if harm == "truncate":
            with weights.open("r+b") as stream:
                stream.truncate(1000)
        elif harm == "remove":
            weights.unlink()
        else:
            weights.write_bytes((lab.base / "model.safetensors").read_bytes())
        out = tmp_path / harm / "out" / "P-Q"
        with pytest.raises(HarnessError, match=r"model\.safetensors is .*; delete the folder"):
            lab.stage(parent, out)
        assert not out.parent.exists()


def test_a_failed_claim_names_the_pipeline(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffn_neurons, "cut", lambda *_: None)
    fails(lab, tmp_path, "P", r"^P: ffn_widths")
