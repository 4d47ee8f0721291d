"""What jobs ask a scheduler for, and the guard against jobs of a killed run."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from fault_fixtures import the_error
from lab import ROOT

from compression_order.common.errors import HarnessError
from compression_order.study import parse
from compression_order.workflow import resources, slurm

LOCAL = {"fetch", "fetch_hub", "fetch_github", "split_text", "main_table"}
# job of the default study -> resident memory as measured, MB, and wall time, s (2026-11-28, two
# cores of an EPYC with AVX512-BF16 and other work)
MEASURED = {
    "base": (683, 11),
    "reference": (784, 66),
    "teacher KD": (1895, 133),
    "P": (5622, 306),
    "KD": (5419, 348),
    "Q": (1770, 34),
    "measure KD": (2481, 213),
    "measure Q": (2481, 213),
}


def needs(change: dict[str, Any] | None = None) -> dict[str, resources.Need]:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config |= change or {}
    return dict(resources.needs(parse.build(config, "config.yaml", ROOT), ROOT))


@pytest.mark.parametrize("job", MEASURED)
def test_a_job_gets_what_it_was_measured_to_take_with_a_margin(job: str):
    megabytes, seconds = MEASURED[job]
    asked = needs()[job]
    assert 1.25 * megabytes < asked.mem_mb(1) < 3.5 * megabytes
    assert 2 * seconds < 60 * asked.runtime(1) < 3 * 3600


def test_a_later_attempt_asks_for_more():
    asked = needs()["KD"]
    assert [asked.mem_mb(n) for n in (2, 3)] == [2 * asked.mem_mb(1), 3 * asked.mem_mb(1)]
    assert [asked.runtime(n) for n in (2, 3)] == [2 * asked.runtime(1), 3 * asked.runtime(1)]


def test_on_a_gpu_the_machine_holds_no_activations():
    on_cpu, on_gpu = needs(), needs({"device": "cuda"})
    assert set(on_cpu) == set(on_gpu)
    assert on_gpu["KD"].memory_mb < on_cpu["KD"].memory_mb
    assert on_gpu["KD"].minutes < on_cpu["KD"].minutes


def default() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
    return config


def test_a_study_that_cannot_be_planned_still_asks():
    config = default()
    config["model"]["name"] = "another-model"  # its shape is known when it is there
    asked = resources.asker(parse.build(config, "config.yaml", ROOT), ROOT)("{pipeline}")
    assert asked["mem_mb"]({"pipeline": "Q"}, 1) == resources.UNPLANNED.memory_mb
    assert asked["runtime"]({"pipeline": "Q"}, 2) == 2 * resources.UNPLANNED.minutes


def test_a_setting_left_out_asks_as_its_default_does():
    config = default()
    assert config["stages"]["Q"].pop("double_quant") is True
    assert needs({"stages": config["stages"]}) == needs()


def test_a_plan_that_fails_stops_with_its_sentence():
    config = default()
    config["stages"]["P"] |= {"ratio": 0.01, "round_to": 64}
    built = parse.build(config, "config.yaml", ROOT)
    with pytest.raises(HarnessError, match=r"^stages\.P: ratio .* 1536 of 1536 FFN") as fault:
        resources.asker(built, ROOT)
    assert "\n" not in str(fault.value)


@pytest.mark.workflow
def test_a_plan_that_fails_stops_snakemake_with_its_sentence(tmp_path: Path):
    config = yaml.safe_load((ROOT / "studies/smoke.yaml").read_text())
    config["stages"]["P"] |= {"ratio": 0.01, "round_to": 64}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    command = ["snakemake", "--dry-run", "--configfile", str(tmp_path / "study.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    sentence = the_error(done.stdout + done.stderr)
    assert "stages.P: ratio 0.01 with round_to 64 leaves 256 of 256" in sentence


@pytest.mark.workflow
def test_every_job_that_can_go_to_a_cluster_asks_for_memory_and_time():
    command = ["snakemake", "--dry-run", "results/table.csv", "--configfile", "studies/smoke.yaml"]
    done = subprocess.run([*command, "--forceall"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    blocks = re.split(r"^(?:local)?rule ", done.stdout, flags=re.MULTILINE)[1:]
    rules = set()
    for block in blocks:
        rule = block[: block.index(":")]
        asked = dict(re.findall(r"(mem_mb|runtime|gpu)=(\d+)", block))
        rules.add(rule)
        assert rule in LOCAL or {"mem_mb", "runtime"} <= set(asked), block
        assert asked.get("gpu", "0") == "0"
    assert {
        "prepare_text",
        "make_model",
        "base",
        "teach",
        "compress",
        "measure",
        "table",
        "analysis",
    } <= rules


def test_the_slurm_profile_keeps_what_every_run_starts_from():
    """Snakemake reads one workflow profile; another limit for checksums would find stale files."""
    default, slurm = (
        yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text())
        for name in ("default", "slurm")
    )
    del default["resources"]  # GPUs of this machine; Slurm counts its own
    assert default.items() <= slurm.items()


LINES = """\
11|RUNNING|/home/me/study|rule_compress_wildcards_P_0_smoke
12|PENDING|/home/me/study|rule_table_wildcards_smoke
13|RUNNING|/home/me/another|rule_compress_wildcards_P_0_smoke
14|RUNNING|/home/me/study|an interactive job
15|RUNNING|/home/me/study|(null)
"""


def test_leftovers_are_snakemakes_jobs_in_this_folder():
    assert slurm.jobs(LINES.splitlines(), Path("/home/me/study")) == ["11", "12"]
    assert slurm.jobs([], Path("/home/me/study")) == []


def squeue(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `squeue` that says what it is told to."""
    (folder / "squeue").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_run_does_not_start_beside_jobs_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    squeue(tmp_path, f"echo '11|RUNNING|{tmp_path}|rule_base'", monkeypatch)
    with pytest.raises(HarnessError, match="scancel 11"):
        slurm.require_none(tmp_path)
    slurm.require_none(tmp_path / "another")


def test_a_slurm_that_does_not_answer_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    squeue(tmp_path, f"echo '11|RUNNING|{tmp_path}|rule_base'; exit 1", monkeypatch)
    slurm.require_none(tmp_path)
