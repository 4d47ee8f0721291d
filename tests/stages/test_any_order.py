"""Any sequence of stages, repeats allowed: each loads, holds its claims and all earlier ones.

Sequences are drawn with a seed; a failure names the sequence, and the same seed gives it again.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from lab import SEQ_LEN, Lab
from structured_fixtures import KINDS, around, base_of, run
from torch import Tensor, nn
from transformers import PreTrainedModel

from compression_order import loading, methods
from compression_order.architecture import cuts
from compression_order.architecture.demands import State
from compression_order.architecture.shapes import Architecture
from compression_order.checkpoint import adapters, disk, masks, models, proof
from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import declare, files
from compression_order.common.errors import HarnessError
from compression_order.methods.ffn_neurons import run as ffn_neurons
from compression_order.orderings import Stage

SCORES = ("wanda", "magnitude", "paper", "flap", "random")
LENGTH = 4  # stages of a sequence
SEQUENCES = 8  # of each kind of model
# what a stage may do with a quantized parent
WAYS = {
    "lora": ("requantize", "dequantize", "adapter"),
    "ffn-neurons": ("requantize", "dequantize", "fake-quant"),
    "full": ("requantize", "dequantize", "fake-quant"),
    "logits": ("requantize", "dequantize", "adapter", "fake-quant"),
}
ADAPTER: dict[str, object] = {"adapter": {"rank": 2, "targets": "v_proj,up_proj"}}
TRAINING = {
    "steps": 2,
    "batch_size": 4,
    "seq_len": SEQ_LEN,
    "learning_rate": 1e-3,
    "warmup_steps": 1,
}


def neurons(draw: random.Random) -> dict[str, object]:
    return {
        "ratio": draw.choice([0.1, 0.25, 0.5]),
        "score": draw.choice(SCORES),
        "round_to": draw.choice([1, 16, 32]),
        "compensate": draw.random() < 0.3,
        "seq_len": SEQ_LEN,
        "recovery": {"steps": draw.choice([0, 2])},
    }


def layers(draw: random.Random) -> dict[str, object]:
    count = draw.choice([0, 1, 2])
    return {"layers": count, "ratio": 0 if count else 0.34, "samples": 4, "seq_len": SEQ_LEN}


def blocks(draw: random.Random) -> dict[str, object]:
    whole = draw.choice([0, 1])
    sizes_ = {"skip_first": whole, "skip_last": whole, "round_to": draw.choice([1, 8])}
    given = {"part": "block", "ratio": draw.choice([0.25, 0.5]), **sizes_}
    return {**given, "samples": 4, "seq_len": 48, "recovery": {"steps": draw.choice([0, 2])}}


def channels(draw: random.Random) -> dict[str, object]:
    given = {"part": "channel", "ratio": draw.choice([0.1, 0.2]), "round_to": draw.choice([1, 8])}
    return {**given, "skip_first": 0, "skip_last": 0, "samples": 4, "seq_len": 48}


def double(draw: random.Random) -> dict[str, object]:
    return {"double_quant": draw.random() < 0.7}


def weights(draw: random.Random) -> dict[str, object]:
    return {"sparsity": draw.choice([0.3, 0.5]), "recovery": {"steps": draw.choice([0, 2])}}


# token: method and a draw of its settings
TOKENS: dict[str, tuple[str, Callable[[random.Random], dict[str, object]]]] = {
    "P": ("ffn-neurons", neurons),
    "L": ("shortgpt", layers),
    "B": ("llm-pruner", blocks),
    "C": ("llm-pruner", channels),
    "M": ("magnitude", weights),
    "Q": ("nf4", double),
    "I": ("int8", lambda _: {}),
    "KD": ("logits", lambda _: ADAPTER),
    "FT": ("lora", lambda _: ADAPTER),
    "FF": ("full", lambda _: {}),
}


def stage_of(token: str, on_quantized: str, given: dict[str, object]) -> Stage:
    """A stage with these settings; one that trains trains for two steps."""
    method = TOKENS[token][0]
    its = methods.settings(method)
    training = {"training": TRAINING} if method in ("lora", "full", "logits") else {}
    return Stage(token, its.kind, method, on_quantized, its.model_validate(given | training))


def drawn(kind: str, number: int) -> list[Stage]:
    """A sequence of stages; every token in its turn."""
    draw = random.Random(f"{kind}/{number}")
    made = []
    for place in range(LENGTH):
        # all tokens stand once at every place in as many sequences as there are tokens
        token = [*TOKENS][(number + place * draw.randrange(1, 6)) % len(TOKENS)]
        method, settings = TOKENS[token]
        given = settings(draw)
        if kind == "qwen2" and "compensate" in given:
            given["compensate"] = False  # a Qwen2 has no place for it: test_structured.py
        on_quantized = draw.choice(WAYS.get(method, ("requantize", "dequantize")))
        made.append(stage_of(token, on_quantized, given))
    return made


@dataclass
class Walk:
    """A sequence under way.

    Attributes:
        lab: the text.
        folder: where its checkpoints lie.
        parent: the last one.
        state: what the planner says that it is.
        told: what was done, for a failure's message.
    """

    lab: Lab
    folder: Path
    parent: Path
    state: State
    told: list[str] = field(default_factory=list)

    def step(self, stage: Stage) -> None:
        """Run one stage and check everything; a stage that the planner refuses must refuse."""
        names = [name for name in self.parent.name.split("-") if name != "base"]
        out = self.folder / "-".join([*names, stage.token])
        self.told.append(f"{out.name} {stage.settings} {stage.on_quantized}")
        given = stage.settings.used(stage.on_quantized)
        common = {"method": stage.method, "on_quantized": stage.on_quantized}
        asked = declare.flags({**common, **given})
        if stage.kind == "distill":
            asked += ["--teacher-outputs", str(self.lab.teacher)]
        try:
            planned: State = stage.settings.child(self.state, around(stage.on_quantized))
        except HarnessError as refusal:
            with pytest.raises(HarnessError) as fault:
                run(self.lab, stage.kind, self.parent, out, asked)
            assert str(refusal) == str(fault.value), self.told
            assert not out.exists()
            self.told.append("refused")
            return
        before = files.read_json(self.parent / "checkpoint.json")
        manifest = run(self.lab, stage.kind, self.parent, out, asked)
        if "removed_layers" in manifest["claims"]:  # the planner cannot know which ones go
            gone = manifest["claims"]["removed_layers"]
            kept = [i for i in range(self.state.shape.layers) if i not in gone]
            assert len(kept) == planned.shape.layers
            planned = State(cuts.layers(self.state.shape, kept), planned.storage)
        self.state, self.parent = planned, out
        self.check(manifest, before)

    def check(self, manifest: dict[str, Any], before: dict[str, Any]) -> None:
        """Loads, finite logits, claims and earlier claims, size equal to the formula."""
        told = self.told
        shape = self.state.shape
        stored = loading.pretrained(self.parent)
        dense = Checkpoint(self.parent).model(torch.bfloat16)
        assert models.architecture(dense) == shape, told
        assert manifest["architecture"] == shape.described() == proof.describe(dense), told
        assert manifest["parameters"]["total"] == shape.parameters + self.state.adapter, told
        assert manifest["bytes"]["analytic"] == self.state.bytes, told
        names = ["model.safetensors", *([adapters.WEIGHTS] if self.state.adapter else [])]
        on_disk = disk.stored_bytes(*(self.parent / name for name in names))
        assert on_disk.weights == self.state.bytes, told
        quantized = [models.kernels(stored, name) for name in ("Linear4bit", "Linear8bitLt")]
        small = self.state.storage is not None
        assert sum(map(len, quantized)) == small * len(shape.matrices), told
        assert finite_logits(dense), told
        fields = files.read_json(self.parent / "config.json")
        assert ("loader" in manifest) != models.is_plain(fields), told
        if "zeros" in before["claims"]:
            assert manifest["claims"]["zeros"]["retained"] == 1.0, told
            assert zeros_hold(dense, self.parent), told


def linears(model: PreTrainedModel) -> list[nn.Linear]:
    return [module for _, module in masks.linears(model)]


def finite_logits(model: PreTrainedModel) -> bool:
    with torch.no_grad():
        logits: Tensor = model(torch.arange(40)[None]).logits
    return bool(logits.isfinite().all())


def zeros_hold(model: PreTrainedModel, folder: Path) -> bool:
    """Every weight that the stored mask names is zero, and the mask is no trifle."""
    masks.attach(model, folder)
    kept = masks.of(model)
    assert len(kept) == len(linears(model))
    share = sum(int(m.sum()) for m in kept.values()) / sum(m.numel() for m in kept.values())
    named = dict(masks.linears(model))
    zero = all(not named[name].weight[mask].any() for name, mask in kept.items())
    return zero and share > 0.25


@pytest.fixture(scope="module")
def bases(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("any-order")
    return {kind: base_of(lab, folder, kind) for kind in KINDS}


def start(lab: Lab, parent: Path, folder: Path) -> Walk:
    shape: Architecture = models.architecture(loading.pretrained(parent))
    return Walk(lab, folder, parent, State(shape))


@pytest.mark.parametrize("number", range(SEQUENCES))
@pytest.mark.parametrize("kind", KINDS)
def test_a_random_sequence(
    kind: str, number: int, bases: dict[str, Path], lab: Lab, tmp_path: Path
) -> None:
    walk = start(lab, bases[kind], tmp_path)
    for stage in drawn(kind, number):
        walk.step(stage)


def test_the_draws_have_every_method_first_last_and_on_a_quantized_parent() -> None:
    sequences = [drawn(kind, number) for kind in KINDS for number in range(SEQUENCES)]
    for places in (slice(0, 2), slice(2, 4)):
        assert {stage.token for made in sequences for stage in made[places]} == {*TOKENS}
    tokens = ["-".join(stage.token for stage in made) for made in sequences]
    assert sum("Q-" in made for made in tokens) >= 3
    assert {stage.method for made in sequences for stage in made} == {
        method for method in methods.REGISTRY if methods.settings(method).environment == "core"
    }


def halved(model: PreTrainedModel, *_: Any) -> dict[str, Any]:
    """Half of every linear to zero, the smallest weights first, and a mask of them."""
    for linear in linears(model):
        weight = linear.weight.data
        weight[weight.abs() < weight.abs().median()] = 0
    masks.take(model)
    return {}


@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize("kind", KINDS)
def test_zeros_stay_zero_through_everything(
    kind: str,
    number: int,
    bases: dict[str, Path],
    lab: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Trained, quantized, dequantized and cut: what was pruned weight by weight stays zero."""
    out = tmp_path / "S"
    with monkeypatch.context() as patch:
        patch.setattr(ffn_neurons, "apply", halved)
        asked = ["--recovery.steps=2", f"--recovery.seq-len={SEQ_LEN}"]
        manifest = run(lab, "prune", bases[kind], out, asked)
    assert manifest["claims"]["zeros"]["retained"] == 1.0
    assert 0.49 < manifest["claims"]["zeros"]["share"] < 0.51
    walk = start(lab, out, tmp_path)
    orders = (["KD", "Q", "C", "FT"], ["B", "L", "Q", "P"])
    draw = random.Random(f"{kind}/{number}")
    for token in orders[number]:
        given = TOKENS[token][1](draw)
        if token == "P":
            given["compensate"] = False
        walk.step(stage_of(token, "requantize", given))


def test_a_stage_that_fills_a_zero_fails(
    bases: dict[str, Path], lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ffn_neurons, "apply", halved)
        run(lab, "prune", bases["llama"], tmp_path / "S", [])

    def fill(model: PreTrainedModel, *_: Any) -> dict[str, Any]:
        model.model.layers[1].mlp.up_proj.weight.data += 1e-2
        return {}

    monkeypatch.setattr(ffn_neurons, "apply", fill)
    words = r"S-P: \d+ of the \d+ weights that were pruned to zero are still zero \(9\d\.\d%\)"
    with pytest.raises(HarnessError, match=words):
        run(lab, "prune", tmp_path / "S", tmp_path / "S-P", [])
    assert not (tmp_path / "S-P").exists()


def test_a_stage_that_widens_what_was_cut_fails(
    bases: dict[str, Path], lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drop(model: PreTrainedModel, *_: Any) -> dict[str, Any]:
        model.base_model.layers = model.base_model.layers[:5]
        models.restate(model)
        return {"ffn_widths": [128] * 5}

    monkeypatch.setattr(ffn_neurons, "apply", drop)
    with pytest.raises(HarnessError, match="P: layers is 5, its parent's is 6 and the stage does"):
        run(lab, "prune", bases["llama"], tmp_path / "P", [])
