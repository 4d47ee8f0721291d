"""GPTQ, AWQ, SparseGPT and Wanda in their own environment, on the lab's tiny model.

All stages run in one process of that environment, once a session; the tests read what they left.
The published algorithms are written out here a second time, and compared on the same text.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from brain_surgery import inverse_hessian, solve
from lab import Lab, in_quant
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel

from compression_order.architecture import storage
from compression_order.checkpoint import disk, masks
from compression_order.checkpoint.forms import packed
from compression_order.checkpoint.stored import Checkpoint
from compression_order.evaluation import perplexity, samples
from compression_order.study.settings import Opening
from compression_order.text import chat

pytestmark = pytest.mark.quant

SEQ_LEN = 64
GROUP = 32
FIRST = "model.layers.0.self_attn.q_proj"  # its inputs do not depend on any pruned weight
GPTQ = ["--method=gptq", f"--group-size={GROUP}", f"--seq-len={SEQ_LEN}"]
AWQ = ["--method=awq", f"--group-size={GROUP}", f"--seq-len={SEQ_LEN}"]
SPARSE = ["--method=sparsegpt", f"--seq-len={SEQ_LEN}"]
WANDA = ["--method=wanda", f"--seq-len={SEQ_LEN}"]
# folder: (script, parent, flags); a parent stands before its children
STAGES: dict[str, tuple[str, str, list[str]]] = {
    "G": ("quantize", "base", GPTQ),
    "again/G": ("quantize", "base", GPTQ),
    "zero/G": ("quantize", "base", [*GPTQ, "--symmetric=false"]),
    "A": ("quantize", "base", AWQ),
    "symmetric/A": ("quantize", "base", [*AWQ, "--symmetric=true"]),
    "S": ("prune", "base", SPARSE),
    "again/S": ("prune", "base", SPARSE),
    "S-S": ("prune", "S", SPARSE),
    "published/S-S": ("prune", "S", [*SPARSE, "--again=published-no-op"]),
    "S-G": ("quantize", "S", GPTQ),
    "S-A": ("quantize", "S", AWQ),
    "G-S": ("prune", "G", SPARSE),
    "recovered/S": ("prune", "base", [*SPARSE, "--recovery.steps=3", "--recovery.seq-len=160"]),
    "pattern/S": ("prune", "base", [*SPARSE, "--pattern=2:4"]),
    "pattern/S-S": ("prune", "pattern/S", [*SPARSE, "--pattern=2:4"]),
    "wide/S": ("prune", "base", [*SPARSE, "--pattern=4:8"]),
    "W": ("prune", "base", [*WANDA, "--sparsity=0.3"]),
    "W-W": ("prune", "W", [*WANDA, "--sparsity=0.3"]),
    "pattern/W": ("prune", "base", [*WANDA, "--pattern=2:4"]),
}
# folder: what one sentence must say
FAULTS: dict[str, tuple[str, str, list[str], str]] = {
    "f/G": ("quantize", "base", [*GPTQ, "--group-size=48"], "group_size 48 does not divide the 64"),
    "f/A": (
        "quantize",
        "base",
        [*AWQ, "--group-size=128"],
        "group_size 128 does not divide the 64",
    ),
    "f/S": (
        "prune",
        "base",
        [*SPARSE, "--seq-len=4096"],
        "tokens, fewer than 1 windows of seq_len",
    ),
    "f/W": ("prune", "base", [*WANDA, "--windows=999"], "fewer than 999 windows of seq_len 64"),
    "f/S3": (
        "prune",
        "base",
        [*SPARSE, "--pattern=3:5", "--sparsity=0.4"],
        "5 does not divide the",
    ),
    "f/G-S": ("prune", "G", [*SPARSE, "--on-quantized=refuse"], "is quantized and the stage says"),
    "f/Z": ("prune", "base", [*SPARSE, "--sparsity=1"], "sparsity"),
}


@dataclass(frozen=True)
class Made:
    """What the stages left; nothing in it may be changed."""

    lab: Lab
    folder: Path
    outcomes: dict[str, str | None]

    def at(self, name: str) -> Path:
        return self.lab.base if name == "base" else self.folder / name

    def manifest(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.at(name) / "checkpoint.json").read_text())
        return found

    def dense(self, name: str) -> dict[str, Tensor]:
        """Its linears of the decoder layers, dequantized."""
        checkpoint = Checkpoint(self.at(name))
        form, stored = checkpoint.form, checkpoint.weights
        state = form.state(stored) if form else load_file(stored)
        return {n.removesuffix(".weight"): t.float() for n, t in state.items() if "proj" in n}


@pytest.fixture(scope="module")
def made(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("quant")
    asked = {**STAGES, **{name: fault[:3] for name, fault in FAULTS.items()}}
    commands = []
    for name, (script, parent, flags) in asked.items():
        start = lab.base if parent == "base" else folder / parent
        work = folder / "work" / name
        common = ["--parent", start, "--out", folder / name, "--pipeline", Path(name).name]
        aside = ["--work", work, "--costs", work / "costs", "--max-degenerate=1.0"]
        commands.append([script, *map(str, [*common, *lab.read(), *aside]), *flags])
    return Made(lab, folder, dict(zip(asked, in_quant(commands), strict=True)))


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_ran(name: str, made: Made) -> None:
    assert made.outcomes[name] is None
    manifest = made.manifest(name)
    assert manifest["claims"]["finite_logits"]
    assert {"llmcompressor", "compressed-tensors"} <= set(manifest["versions"])


@pytest.mark.parametrize("name", FAULTS)
def test_bad_input_is_one_sentence(name: str, made: Made) -> None:
    told = made.outcomes[name]
    assert told is not None
    assert FAULTS[name][3] in told
    assert "\n" not in told
    assert not made.at(name).exists()


@pytest.mark.parametrize("name", ["G", "S"])
def test_equal_work_gives_equal_bytes(name: str, made: Made) -> None:
    for path in made.at(name).iterdir():
        assert path.read_bytes() == (made.at(f"again/{name}") / path.name).read_bytes(), path.name


# GPTQ and AWQ


@pytest.mark.parametrize("name", ["G", "zero/G", "A", "symmetric/A", "S-G", "S-A", "G-S"])
def test_the_file_has_the_size_of_the_formula(name: str, made: Made) -> None:
    manifest = made.manifest(name)
    assert manifest["format"] == packed.FORMAT
    symmetric = manifest["quantization"]["symmetric"]
    assert manifest["quantization"] == {"bits": 4, "group_size": GROUP, "symmetric": symmetric}
    weights = 64 * (64 + 32 + 32 + 64 + 3 * 256)
    per_group = 2 if symmetric else 2.5
    by_hand = 2 * weights * (0.5 + per_group / GROUP) + 2 * (512 * 64 + 5 * 64)
    stored = disk.stored_bytes(made.at(name) / "model.safetensors")
    assert stored.weights == by_hand == manifest["bytes"]["analytic"]
    assert stored.file == by_hand + stored.header + 14 * 16
    assert manifest["claims"].get("quantized_linears", 14) == 14
    assert manifest["claims"]["grids"] == {"given": 14, "fitted": 0}


@pytest.mark.parametrize("name", ["G", "zero/G", "A"])
def test_the_other_environment_loads_it_too(name: str, made: Made) -> None:
    """This process runs another transformers than the one that stored it."""
    model = Checkpoint(made.at(name)).model(torch.bfloat16)
    with torch.no_grad():
        assert model(torch.arange(40)[None]).logits.isfinite().all()


def inputs(made: Made) -> Tensor:
    """[tokens, columns]: what the calibration text gives to the first linear of the base."""
    tokenizer = AutoTokenizer.from_pretrained(made.lab.base)
    numbered = chat.records(made.lab.chats, made.lab.splits, "calibration")
    windows = chat.windows(chat.encode(tokenizer, numbered, SEQ_LEN), SEQ_LEN)
    model = Checkpoint(made.lab.base).model(torch.bfloat16)
    seen: list[Tensor] = []
    model.get_submodule(FIRST).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        for window in windows:
            model(window[None])
    return torch.cat([states[0] for states in seen]).double()


def error(made: Made, weight: Tensor) -> float:
    """The squared error of the first linear's output, relative to the output."""
    dense = made.dense("base")[FIRST].double()
    states = inputs(made)
    return float(((weight.double() - dense) @ states.T).norm() / (dense @ states.T).norm()) ** 2


def rounded(made: Made, symmetric: bool) -> Tensor:
    """Round-to-nearest of the first linear on the grid of its groups."""
    weight = made.dense("base")[FIRST].to(torch.bfloat16)
    return packed.Packed(GROUP, symmetric).rounded(FIRST, weight)


def test_gptq_errs_less_than_round_to_nearest(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, symmetric in (("G", True), ("zero/G", False)):
        nearest, gptq = error(made, rounded(made, symmetric)), error(made, made.dense(name)[FIRST])
        plain = error(made, plain_gptq(made, symmetric))
        with capsys.disabled():
            print(
                f"\n{name}: output error, nearest {nearest:.2e}, GPTQ {gptq:.2e}, "
                f"GPTQ written out here {plain:.2e}",
                end="",
            )
        assert gptq < 0.8 * nearest
        assert gptq < 1.25 * plain


def perplexity_of(made: Made, model: PreTrainedModel) -> float:
    """Over the held-out conversations."""
    tokenizer = AutoTokenizer.from_pretrained(made.lab.base)
    sample = samples.documents(tokenizer, made.lab.chats, made.lab.splits, Opening())
    scores = perplexity.score(model, sample)
    found: float = perplexity.perplexity_record(sample, scores)["perplexity"]
    return found


def test_gptq_and_awq_predict_better_than_round_to_nearest(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    """On conversations that no method saw; the same grid of groups for all."""
    base = Checkpoint(made.lab.base).model(torch.bfloat16)
    found = {"base": perplexity_of(made, base)}
    for kind, symmetric in (("symmetric", True), ("zero points", False)):
        nearest = copy.deepcopy(base)
        for name, linear in masks.linears(nearest):
            linear.weight.data = packed.Packed(GROUP, symmetric).rounded(name, linear.weight.data)
        found[f"nearest, {kind}"] = perplexity_of(made, nearest)
    for name in ("G", "zero/G", "symmetric/A", "A"):
        model = Checkpoint(made.at(name)).model(torch.bfloat16)
        found[name] = perplexity_of(made, model)
    with capsys.disabled():
        print(f"\nperplexity: {', '.join(f'{n} {p:.4f}' for n, p in found.items())}", end="")
    assert found["base"] < min(found["G"], found["zero/G"], found["A"])
    assert found["G"] < found["nearest, symmetric"]
    assert found["zero/G"] < found["nearest, zero points"]
    assert found["A"] < found["nearest, zero points"]


def plain_gptq(made: Made, symmetric: bool) -> Tensor:
    """GPTQ (Frantar et al. 2022, algorithm 1) with the columns of large activations first."""
    weight = made.dense("base")[FIRST]
    form, states = packed.Packed(GROUP, symmetric), inputs(made)
    scale, zero = (t.double().repeat_interleave(GROUP, 1) for t in form.fitted(weight.bfloat16()))

    def nearest(column: int, values: Tensor, *_: Tensor) -> Tensor:
        step, shift = scale[:, column], zero[:, column]
        return ((values / step + shift).round().clamp(-8, 7) - shift) * step

    order = states.square().sum(0).argsort(descending=True)
    fixed: list[int] = []

    def once(column: int, values: Tensor, now: Tensor, _: Tensor) -> Tensor:
        fixed.append(column)
        return nearest(column, values)

    return solve(weight.double(), inverse_hessian(states), order, once)


# SparseGPT and Wanda


def zeros(state: dict[str, Tensor]) -> dict[str, float]:
    return {name: float((weight == 0).float().mean()) for name, weight in state.items()}


@pytest.mark.parametrize(
    ("name", "share"),
    [("S", 0.5), ("S-S", 0.75), ("published/S-S", 0.5), ("W", 0.3), ("W-W", 0.51)],
)
def test_the_share_of_every_linear_on_the_stored_file(name: str, share: float, made: Made) -> None:
    for linear, found in zeros(made.dense(name)).items():
        # SparseGPT counts one more a block, Wanda whole weights a row of 64
        assert abs(found - share) < (2e-3 if "S" in name else 1 / 64), linear
    assert made.manifest(name)["claims"]["zeros"]["retained"] == 1.0


@pytest.mark.parametrize(
    ("name", "left", "of"),
    [("pattern/S", 2, 4), ("pattern/S-S", 1, 4), ("wide/S", 4, 8), ("pattern/W", 2, 4)],
)
def test_the_pattern_of_every_linear(name: str, left: int, of: int, made: Made) -> None:
    for linear, weight in made.dense(name).items():
        stays = (weight != 0).unflatten(1, (-1, of)).sum(-1)
        assert int(stays.max()) <= left, linear
        assert float(stays.float().mean()) > left - 0.05, linear


def test_the_published_second_pass_changes_no_weight(made: Made) -> None:
    once, twice = made.dense("S"), made.dense("published/S-S")
    assert all(torch.equal(once[name], twice[name]) for name in once)


@pytest.mark.parametrize("name", ["S-S", "S-G", "S-A", "pattern/S-S", "W-W"])
def test_zeros_stay_zero(name: str, made: Made) -> None:
    before = made.dense(str(Path(name).with_name(Path(name).name.rsplit("-", 1)[0])))
    after = made.dense(name)
    assert not any(after[linear][weight == 0].any() for linear, weight in before.items())


def test_what_gptq_itself_keeps_of_the_zeros_is_recorded(made: Made) -> None:
    assert 0.5 < made.manifest("S-G")["claims"]["zeros_kept_by_method"] < 1
    assert made.manifest("S-A")["claims"]["zeros_kept_by_method"] == 1.0


def test_recovery_keeps_the_zeros(made: Made) -> None:
    before, after = made.dense("S"), made.dense("recovered/S")
    assert all(torch.equal(before[n] == 0, after[n] == 0) for n in before)
    assert any(not torch.equal(before[n], after[n]) for n in before)


def plain_sparsegpt(made: Made, share: float) -> Tensor:
    """SparseGPT (Frantar and Alistarh 2023, algorithm 1), all columns one block."""
    weight, states = made.dense("base")[FIRST].double(), inputs(made)
    inverse = inverse_hessian(states)
    # what the diagonal of the inverse is when each column's turn comes
    turn, now = torch.empty(len(inverse), dtype=torch.double), inverse.clone()
    for column in range(len(inverse)):
        turn[column] = now[column, column]
        now -= now[:, column, None] * now[column][None] / now[column, column]
        now[column] = now[:, column] = 0
    score = weight.square() / turn
    gone = score <= score.flatten().kthvalue(round(share * weight.numel())).values

    def zero(column: int, values: Tensor, *_: Tensor) -> Tensor:
        return values.masked_fill(gone[:, column], 0)

    return solve(weight, inverse, torch.arange(len(inverse)), zero)


def test_sparsegpt_errs_as_the_algorithm_written_out_here(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    weight = made.dense("base")[FIRST]
    cut = weight.abs().flatten().kthvalue(weight.numel() // 2).values
    magnitude = error(made, weight.masked_fill(weight.abs() <= cut, 0))
    found, plain = error(made, made.dense("S")[FIRST]), error(made, plain_sparsegpt(made, 0.5))
    with capsys.disabled():
        print(
            f"\noutput error at 50%: magnitude {magnitude:.3e}, SparseGPT {found:.3e}, "
            f"SparseGPT written out here {plain:.3e}",
            end="",
        )
    assert found == pytest.approx(plain, rel=0.05)
    assert found < 0.6 * magnitude


def test_wanda_takes_the_weights_that_its_score_says(made: Made) -> None:
    """Sun et al. 2023, equation 1: |weight| times the norm of its input, row by row."""
    weight, norms = made.dense("base")[FIRST].double(), inputs(made).norm(dim=0)
    score = weight.abs() * norms
    expected = score.argsort(1)[:, : int(0.3 * weight.shape[1])]
    zero = torch.zeros_like(weight, dtype=torch.bool).scatter(1, expected, True)
    found = made.dense("W")[FIRST] == 0
    # equal scores may go either way
    assert float((found == zero).float().mean()) > 0.999
    assert torch.equal(made.dense("W")[FIRST][~found], made.dense("base")[FIRST][~found])


def test_the_formula_of_smollm2() -> None:
    from compression_order.architecture import shapes

    model = shapes.named("smollm2-135m-instruct")
    linears = 106_168_320  # weights of the decoder layers' linears; a group is 64 of them
    other = 2 * (134_515_008 - linears)
    assert storage.packed_bytes(model, 4, 64, True) == linears // 2 + linears // 32 + other
    assert storage.packed_bytes(model, 4, 64, False) == (
        linears // 2 + linears // 32 + linears // 128 + other
    )
