"""The lock file: measured once, and what stages and evaluations make of it."""

import json
from pathlib import Path

import pytest
import torch
from lab import Lab, inside

from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import arithmetic
from compression_order.stages import lock


def test_the_faster_arithmetic_is_chosen_and_bf16_where_it_is_close() -> None:
    assert lock.faster({"bf16": 166e9, "float32": 65e9}) == "bf16"
    assert lock.faster({"bf16": 80e9, "float32": 120e9}) == "float32"
    assert lock.faster({"bf16": 100e9, "float32": 105e9}) == "bf16"


def test_products_are_those_of_the_model_and_cut_to_fit(lab: Lab) -> None:
    config = Checkpoint(lab.base).config
    found = lock.shapes(config)
    assert (lock.TOKENS, config.hidden_size, config.intermediate_size) in found
    assert found[-1][2] == config.vocab_size
    wide = [(64, 64, 10**9)]
    assert lock.rate(wide, torch.float32, torch.device("cpu")) > 0  # 10**9 columns would not fit


@pytest.mark.parametrize("compute", ["auto", "float32"])
def test_the_file_says_what_it_came_to(lab: Lab, tmp_path: Path, compute: str) -> None:
    out = tmp_path / "studies" / "own.lock.yaml"
    inside("lock", "--model", lab.model, f"--compute={compute}", "--out", out)
    found = arithmetic.locked(out)
    assert found is not None
    assert found["compute"] == (lock.faster(found["rates"]) if compute == "auto" else "float32")
    assert 1e6 < found["rates"]["bf16"] < 1e16


@pytest.mark.parametrize("token", ["P", "KD"])
def test_a_stage_in_float32_says_so_and_makes_other_weights(
    lab: Lab, tmp_path: Path, token: str
) -> None:
    found = tmp_path / "own.lock.yaml"
    found.write_text("compute: float32\nrates: {bf16: 1.0e+10, float32: 2.0e+10}\n")
    made = {}
    for name in ("bf16", "float32", str(found)):
        out = tmp_path / f"in {Path(name).name}" / token
        made[name] = lab.stage(lab.base, out, f"--compute={name}", *training(token))
    assert [m["compute"] for m in made.values()] == ["bf16", "float32", "float32"]
    narrow, wide, locked = (m["files"]["model.safetensors"] for m in made.values())
    assert narrow != wide == locked


def training(token: str) -> list[str]:
    return ["--recovery.steps=2", "--recovery.batch-size=2"] if token == "P" else []


def test_scores_in_float32_say_so_and_are_closer_to_the_truth(lab: Lab, tmp_path: Path) -> None:
    its = Checkpoint(lab.base).model(torch.float32)
    found = {}
    for name in ("bf16", "float32"):
        kept = tmp_path / f"{name}.safetensors"
        common = [*lab.read(), f"--compute={name}", "--costs", tmp_path / "costs"]
        inside("reference", "--model", lab.base, *common, "--out", kept)
        inside(
            "measure", "--checkpoint", lab.base, "--documents", lab.chats, "--splits", lab.splits,
            "--reference", kept, f"--compute={name}", "--costs", tmp_path / "costs",
            "--windows", lab.plain, "--seq-len=64", "--out", tmp_path / name,
        )  # fmt: skip
        found[name] = json.loads((tmp_path / name / "perplexity.json").read_text())["plain"]
        fidelity = json.loads((tmp_path / name / "fidelity.json").read_text())
        assert fidelity["kl"] == pytest.approx(0, abs=1e-9)
    from compression_order.evaluation import perplexity, samples
    from compression_order.study.settings import Scoring

    how = Scoring(seq_len=64, max_tokens=8192)
    sample = samples.windows(Checkpoint(lab.base).tokenizer, lab.plain, how)
    true = perplexity.score(its, sample).losses
    assert [found[name]["compute"] for name in found] == ["bf16", "float32"]
    assert found["float32"]["losses"] == pytest.approx(true, rel=1e-6)
    assert found["bf16"]["losses"] != pytest.approx(true, rel=1e-6)
