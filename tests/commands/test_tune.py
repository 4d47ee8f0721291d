"""`compression-order tune`: what is tried, when a grid is extended, and what is chosen."""

import copy
import csv
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab import ROOT
from results_tree import add_row, ask, edit, perplexity

from compression_order.study import parse, tuning
from compression_order.study.tuning import Trials

SMOKE = yaml.safe_load((ROOT / "studies/smoke.yaml").read_text())
RATE = "training.learning_rate"
GRID = {"KD": {"parents": ["base", "P"], "settings": {RATE: [1e-4, 2e-4, 4e-4]}}}


def study(root: Path, **changes: Any) -> Path:
    """The smoke study with a dev split and a grid, in a file."""
    made = {**copy.deepcopy(SMOKE), "tuning": {"seed": 100, "grid": GRID}, **changes}
    made["splits"] = {**made["splits"], "dev": 4}
    path = root / "study.yaml"
    path.write_text(yaml.safe_dump(made, sort_keys=False))
    return path


def tune(root: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Any:
    monkeypatch.chdir(root)
    return ask("tune", "--study", study(root, **changes))


def measured(root: Path, damage: dict[float, float]) -> None:
    """Leave evaluations of every row that is asked for; the damage of each rate is given."""
    asked = yaml.safe_load((root / "work/tuning.yaml").read_text())
    tree = root / "results/smoke-tuning"
    for row in asked["orderings"]:
        token = row.split("-")[-1]
        rate = asked["stages"][token]["training"]["learning_rate"]
        add_row(tree, row, 100, 0.0, 0.01)
        entry = perplexity("documents", [2.0 + damage[rate]] * 4, [10, 20, 30, 40])
        path = tree / f"seed100/evaluations/{row}/perplexity.json"
        edit(path, **{asked["splits"]["text"]: entry})


def chosen(root: Path) -> list[dict[str, str]]:
    with (root / "studies/smoke.tuned.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_study_that_tries_is_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = tune(tmp_path, monkeypatch)
    assert done.returncode == 0, done.stderr
    assert "6 pipelines to try" in done.stdout
    made = parse.read([tmp_path / "work/tuning.yaml"], ROOT)
    assert made.seeds == [100]
    assert made.file.evaluations.part == "dev"
    assert made.redraws
    assert made.file.orderings == [
        row for place in range(3) for row in (f"KD.try{place}", f"P-KD.try{place}")
    ]
    rates = [made.stages[f"KD.try{n}"].settings.training.learning_rate for n in range(3)]
    assert rates == [1e-4, 2e-4, 4e-4]


def test_a_choice_within_the_grid_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tune(tmp_path, monkeypatch)
    measured(tmp_path, {1e-4: 0.2, 2e-4: 0.1, 4e-4: 0.15})
    done = tune(tmp_path, monkeypatch)
    assert done.returncode == 0, done.stderr
    assert f"KD: {RATE}=0.0002 (lowest mean over 2 parents, by 0.0500 nats)" in done.stdout
    assert not (tmp_path / "work/tuning.yaml").exists()
    lines = chosen(tmp_path)
    assert [line["settings"] for line in lines if line["chosen"] == "yes"] == [f"{RATE}=0.0002"] * 2
    assert {line["dev_loss"] for line in lines} == {"2.2000", "2.1000", "2.1500"}


def test_a_choice_at_the_edge_extends_the_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(tmp_path, monkeypatch)
    damage = {1e-4: 0.3, 2e-4: 0.2, 4e-4: 0.1, 8e-4: 0.05, 1.6e-3: 0.08}
    measured(tmp_path, damage)
    for rows in (8, 10):
        done = tune(tmp_path, monkeypatch)
        assert f"{rows} pipelines to try" in done.stdout
        measured(tmp_path, damage)
    done = tune(tmp_path, monkeypatch)
    assert f"KD: {RATE}=0.0008 " in done.stdout


def test_an_end_is_not_moved_for_ever() -> None:
    grid = tuning.Grid(parents=["base"], settings={RATE: [1e-4, 2e-4]})
    trials, moved = Trials.of("KD", grid), 0
    while more := trials.beyond(trials.points[-1]):
        trials, moved = more, moved + 1
    assert moved == tuning.FURTHEST
    assert trials.points[-1] == {RATE: pytest.approx(3.2e-3)}


def test_a_point_that_diverges_is_not_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(tmp_path, monkeypatch)
    measured(tmp_path, {1e-4: 0.2, 2e-4: 0.1, 4e-4: math.nan})
    done = tune(tmp_path, monkeypatch)
    assert done.returncode == 0, done.stderr
    assert f"{RATE}=0.0002 " in done.stdout


def grid(**changes: Any) -> dict[str, Any]:
    return {"tuning": {"seed": 100, "grid": {"KD": {**GRID["KD"], **changes}}}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tuning": None}, "tuning"),
        ({"tuning": {"seed": 0, "grid": GRID}}, "tuning.seed: 0 is a seed of the study"),
        ({"tuning": {"seed": 9, "grid": {"X": GRID["KD"]}}}, "tuning.grid.X: no such stage"),
        (grid(parents=["P-X"]), "tuning.grid.KD.parents: 'P-X' names the stage 'X'"),
        (grid(settings={"training.rate": [1e-4]}), "the stage does not set 'training.rate'"),
        (grid(settings={RATE: []}), "needs this many entries at least: 1"),
    ],
)
def test_a_grid_that_cannot_be_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    done = tune(tmp_path, monkeypatch, **changes)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "work/tuning.yaml").exists()
