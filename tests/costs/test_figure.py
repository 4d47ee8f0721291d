"""The figure of how busy the device was, from timelines made by hand."""

from pathlib import Path

import pytest
import yaml
from lab import ROOT
from results_tree import ask

from compression_order.costs import figure, utilization
from compression_order.costs.utilization import Sample

SMOKE = ROOT / "studies/smoke.yaml"
KINDS = {"P": "prune", "KD": "distill", "Q": "quantize"}
GB = 10**9


def sample(second: float, percent: float, gigabytes: int) -> Sample:
    return Sample(second, percent, gigabytes * GB)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Timelines of P-KD-Q and of the first two stages of KD-P-Q."""
    for pipeline, samples in {
        "P": [sample(1, 50, 1), sample(2, 5, 1)],  # the second is idle: in no figure
        "P-KD": [sample(1, 70, 3), sample(2, 90, 4)],
        "P-KD-Q": [sample(1, 30, 2)],
        "KD": [sample(1, 100, 2)],
        "KD-P": [sample(1, 100, 2)],
    }.items():
        kind = KINDS[pipeline.rpartition("-")[2]]
        path = tmp_path / "seed0/costs" / pipeline / f"{kind}.utilization.csv"
        utilization.write(path, samples)
    return tmp_path


def draw(results: Path, *flags: object) -> tuple[int, str]:
    done = ask("utilization", "--study", SMOKE, "--results", results, *flags)
    return done.returncode, done.stdout + done.stderr


def test_stages_follow_each_other_and_idle_seconds_are_in_no_figure(results: Path) -> None:
    status, said = draw(results)
    assert status == 0, said
    # of 50, 70, 90, 30: mean 60; nearest ranks 90, 90; the last sample is at 2 + 2 + 1 s
    row = next(line for line in said.splitlines() if line.startswith("P-KD-Q"))
    assert row.split() == ["P-KD-Q", "cpu", "5", "4", "60", "90", "90", "90", "4.00"]
    assert "Not drawn, for a stage without a timeline: " in said
    assert "KD-P-Q" in said.split("Not drawn")[1]
    figure = (results / "utilization.svg").read_text()
    assert "busy (%): mean 60, p90 90, p95 90, max 90" in figure
    assert all(f">{stage}<" in figure for stage in ("P", "P-KD", "P-KD-Q"))


def test_a_gpu_is_drawn_where_the_driver_told_of_one(tmp_path: Path) -> None:
    path = tmp_path / "prune.utilization.csv"
    starting = Sample(1, 99, GB)  # torch is not up yet
    utilization.write(path, [starting, Sample(2, 99, GB, 40, 7 * GB)])
    drawn = figure.read("P", {"P": path})
    assert drawn.curves == ([2], [40], [7])
    assert drawn.summary["of"] == "gpu"


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_the_same_timelines_give_the_same_bytes(form: str, results: Path) -> None:
    flags = ("--ordering", "P-KD", "--out")
    for name in ("one", "two"):
        assert draw(results, *flags, results / f"{name}.{form}")[0] == 0
    assert (results / f"one.{form}").read_bytes() == (results / f"two.{form}").read_bytes()


def test_bad_input_is_one_sentence(results: Path) -> None:
    runs = yaml.safe_load(SMOKE.read_text())["stages"]
    assert set(KINDS) <= set(runs)
    damaged = results / "seed0/costs/P/prune.utilization.csv"
    for flags, words in (
        (["--ordering", "P-P"], "'P-P' is not run by smoke; use one of"),
        (["--out", results / "busy.gif"], "busy.gif ends in none of .svg, .png, .pdf"),
        (["--results", results / "none"], "has no timelines of all stages of"),
    ):
        status, said = draw(results, *flags)
        assert (status, said.count("\n")) == (1, 1)
        assert words in said
    damaged.write_text("second,cpu_percent\n1,2\n")
    status, said = draw(results)
    assert (status, said.count("\n")) == (1, 1)
    assert f"{damaged} is not a timeline of samples" in said
    assert not (results / "utilization.svg").exists()
