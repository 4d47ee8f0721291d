"""The plan of arXiv 2511.19495: what it prints, that it fits, and that it needs nothing."""

import csv
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lab import ROOT
from results_tree import ask

FULL = "studies/qwen2.5-3b.yaml"
PUBLISHED = {  # pipeline of the paper arm -> MiB, ratio, parameters
    "base": ("5886.0", "1.0000", 3_085_938_688),
    "KD.paper": ("5886.0", "1.0000", 3_085_938_688),
    "P.paper": ("4492.9", "1.3100", 2_355_589_120),
    "Q": ("1959.2", "3.0042", 3_085_938_688),
    "P.paper-KD.paper-Q": ("1599.9", "3.6790", 2_355_589_120),
    "Q-KD.text-P.paper": ("1599.9", "3.6790", 2_355_589_120),
}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    out = tmp_path_factory.mktemp("plan") / "plan.csv"
    began = time.monotonic()
    done = ask("plan", "--study", FULL, "--device", "l40s", "--csv", out)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 10
    with out.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_study_for_gpus_is_planned_for_one_unless_told(tmp_path: Path) -> None:
    out = tmp_path / "plan.csv"
    assert ask("plan", "--study", FULL, "--csv", out).returncode == 0
    with out.open(newline="") as stream:
        assert {row["device"] for row in csv.DictReader(stream)} == {"a100-80gb"}


def test_the_published_sizes(planned: list[dict[str, str]]) -> None:
    rows = {row["pipeline"]: row for row in planned if row["parameters"]}
    found = {
        name: (rows[name]["mib"], rows[name]["compression_ratio"], int(rows[name]["parameters"]))
        for name in PUBLISHED
    }
    assert found == PUBLISHED


def test_no_step_of_the_paper_needs_more_than_48_gb(planned: list[dict[str, str]]) -> None:
    peaks = {row["job"]: int(row["peak_bytes"]) for row in planned if row["peak_bytes"]}
    assert max(peaks.values()) < 48e9
    # what the head of the study file says, in GB
    told = {
        "teacher KD": 15,
        "teacher KD.paper": 9,
        "P": 35,
        "P.paper": 25,
        "KD": 46,
        "KD.paper": 47,
        "KD.text": 47,
        "Q": 15,
        "measure base": 12,
    }
    assert {job: round(peaks[job] / 1e9) for job in told} == told


def test_float32_moments_would_not_fit_as_published(tmp_path: Path) -> None:
    study = (ROOT / FULL).read_text().replace("optimizer: adamw-8bit", "optimizer: adamw")
    (tmp_path / "study.yaml").write_text(study)
    out = tmp_path / "plan.csv"
    done = ask("plan", "--study", tmp_path / "study.yaml", "--device", "l40s", "--csv", out)
    assert done.returncode == 0, done.stderr
    assert "does not fit: KD.paper needs 65" in done.stdout
    with out.open(newline="") as stream:
        row = next(r for r in csv.DictReader(stream) if r["job"] == "KD.paper")
    # weights, gradients and two moments: the 49 GB of the audit
    parameters = 4 * 4 * 3_085_938_688
    assert parameters == pytest.approx(49.4e9, rel=0.01)
    assert int(row["gradients_bytes"]) + int(row["optimizer_bytes"]) == 3 * parameters // 4


def test_the_teacher_is_the_7b_model_and_runs_twice(planned: list[dict[str, str]]) -> None:
    teachers = {row["job"]: row for row in planned if row["kind"] == "teach"}
    assert set(teachers) == {"teacher KD", "teacher KD.paper"}
    weights = {job: int(row["weights_bytes"]) for job, row in teachers.items()}
    assert weights["teacher KD"] == 2 * 7_615_616_512
    linears = 28 * (2 * 3584 * 3584 + 2 * 3584 * 512 + 3 * 3584 * 18944)
    assert weights["teacher KD"] - weights["teacher KD.paper"] == linears
    # the hidden states of every token, and the output embedding's shared rows
    tokens = 19746 * 512
    kept = 2 * 3584 * (tokens + 151_936) + 16 * 19746 + 8
    assert {int(row["written_bytes"]) for row in teachers.values()} == {kept}
    # what waits for which
    after = {row["job"]: row["after"] for row in planned if row["kind"] == "distill"}
    assert "teacher KD.paper" in after["KD.text"]


def test_planning_needs_neither_torch_nor_network(tmp_path: Path) -> None:
    code = (
        "import sys, socket\n"
        "def refuse(*a, **k): raise RuntimeError('the planner opened a socket')\n"
        "socket.socket.connect = refuse\n"
        "from compression_order.commands import entry\n"
        f"entry.run(['plan', '--study', '../{FULL}', '--csv', '{tmp_path}/plan.csv'])\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "src", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
