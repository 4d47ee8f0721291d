"""The environment of a stage: its python, its lock, and what is said where there is none."""

import os
import stat
from pathlib import Path

import pytest
import yaml
from workflow_fixtures import ROOT, repository

from compression_order import methods
from compression_order.common.errors import HarnessError
from compression_order.orderings import Stage
from compression_order.workflow import environments

CORE = Stage("Q", "quantize", "nf4", "requantize")
QUANT = Stage("G", "quantize", "gptq", "requantize")


@pytest.fixture(autouse=True)
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user who names no python."""
    for name in environments.PYTHONS:
        monkeypatch.delenv(environments.variable(name), raising=False)


def test_the_environment_is_asked_for_only_where_it_is_used(tmp_path: Path) -> None:
    environments.require([CORE], tmp_path)
    words = (
        r"^stages.G: the method 'gptq' runs in the environment `quant`, and "
        r".venv-quant/bin/python does not exist; run `make quant-env`, or name its python in the "
        r"variable PYTHON_QUANT$"
    )
    with pytest.raises(HarnessError, match=words):
        environments.require([CORE, QUANT], tmp_path)


def test_a_python_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "python"
    own.write_text("#!/bin/sh\n")
    own.chmod(own.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PYTHON_QUANT", str(own))
    environments.require([QUANT], tmp_path)
    assert os.environ["PYTHON_QUANT"] == str(own)


def test_every_method_names_an_environment_that_has_a_lock() -> None:
    for method in methods.REGISTRY:
        name = methods.settings(method).environment
        assert name == environments.CORE or name in environments.PYTHONS
        assert (ROOT / environments.lock(method)).exists()


def test_the_launcher_names_the_variable() -> None:
    assert environments.launcher("nf4", 1) == "python"
    assert environments.launcher("logits", 2).startswith("torchrun ")
    assert environments.launcher("gptq", 1) == '"$PYTHON_QUANT"'
    assert environments.launcher("sparsegpt", 2) == (
        '"$PYTHON_QUANT" -m torch.distributed.run --standalone --nproc-per-node=2'
    )


@pytest.mark.workflow
def test_the_workflow_says_it_when_it_is_parsed_and_runs_the_named_python(tmp_path: Path) -> None:
    copied = repository(tmp_path / "repository")
    gptq: dict[str, object] = {"method": "gptq", "on_quantized": "requantize"}
    gptq |= {"group_size": 32, "symmetric": True, "seq_len": 64, "windows": 0}

    def change(study: dict) -> None:
        study["stages"]["Q"] = gptq
        study["orderings"] = ["Q", "P"]

    copied.change_study(change)
    done = copied.snakemake("--dry-run")
    told = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert done.returncode != 0
    assert len(told) == 1
    assert "make quant-env" in told[0]
    own = tmp_path / "python"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    copied.env = {"PYTHON_QUANT": str(own)}
    done = copied.snakemake("--dry-run", "--printshellcmds")
    assert done.returncode == 0, done.stdout
    assert '"$PYTHON_QUANT" src/quantize.py' in done.stdout
    assert " python src/prune.py" in done.stdout
    blocks = done.stdout.split("rule ")
    for pipeline, lock in (("Q", "envs/quant.lock"), ("P", "envs/core.lock")):
        (job,) = [b for b in blocks if b.startswith("compress") and f"pipeline={pipeline}\n" in b]
        assert lock in job
    assert yaml.safe_load((copied.root / "studies/smoke.yaml").read_text())["stages"]["Q"] == gptq
