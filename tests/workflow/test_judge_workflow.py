"""The judge in the workflow: what a judge adds to a finished run, and what it then costs."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_server import serving
from good_judge import PYTHON, good
from workflow_fixtures import TABLES, Copy, link_archives, repository

pytestmark = [pytest.mark.workflow, pytest.mark.judge, pytest.mark.slow]

ROWS = ("base", "Q")
JUDGED = {("judge_steps", "")} | {("judge", row) for row in ROWS}
ANSWERED = {("answers", row) for row in ROWS}


def judge_at(url: str, **more: object) -> Callable[[dict[str, Any]], None]:
    """A change of the study: one stage, and a judge, or none."""

    def change(study: dict[str, Any]) -> None:
        study["orderings"] = ["Q"]
        study.pop("judge", None)
        if url:
            answers = {"text": "alpaca", "prompts": 4, "max_new_tokens": 16}
            study["judge"] = {"answers": answers, "endpoint": url, "model": "wise", **more}

    return change


def header(copy: Copy) -> list[str]:
    with (copy.root / "results/table.csv").open(newline="") as stream:
        return next(csv.reader(stream))


def ran(copy: Copy) -> None:
    done = copy.snakemake()
    assert done.returncode == 0, done.stdout[-4000:]


def test_a_judge_is_added_to_a_finished_run(tmp_path: Path) -> None:
    copy = repository(tmp_path / "repository")
    link_archives(copy)
    copy.env = {"PYTHON_JUDGE": os.environ.get("PYTHON_JUDGE", PYTHON)}
    copy.change_study(judge_at(""))
    ran(copy)
    assert not {"g_eval", "prompt_alignment", "clarity"} & set(header(copy))
    assert not list(copy.root.rglob("answers.json"))
    with serving(good) as server:
        copy.change_study(judge_at(server.url))
        assert copy.planned() == ANSWERED | JUDGED | TABLES
        ran(copy)
        asked = len(server.requests)
        assert asked > 2
        names = header(copy)
        at = names.index("g_eval")
        assert names[at : at + 6] == [
            *("g_eval", "g_eval_se", "prompt_alignment", "prompt_alignment_se"),
            *("clarity", "clarity_se"),
        ]
        assert copy.planned() == set()
        # the address decides nothing: the verdicts are taken from their files
        before = {p: p.read_bytes() for p in copy.root.glob("results/smoke/seed0/*/*/judge.json")}
        assert len(before) == 2
        copy.change_study(judge_at(server.url.replace("127.0.0.1", "localhost")))
        assert copy.planned() == JUDGED | TABLES
        ran(copy)
        assert len(server.requests) == asked
        assert {p: p.read_bytes() for p in before} == before
        # other metrics from the same verdicts
        copy.change_study(judge_at(server.url, metrics="clarity"))
        ran(copy)
        assert len(server.requests) == asked
        assert "clarity" in header(copy)
        assert "g_eval" not in header(copy)
    copy.change_study(judge_at(""))
    assert copy.planned() == TABLES
    ran(copy)
    assert "clarity" not in header(copy)
    (stored,) = {json.loads(p.read_text())["key"]["model"]
                 for p in (copy.root / "assets/verdicts").rglob("*.json")}  # fmt: skip
    assert stored == "wise"


def test_a_missing_environment_is_told(tmp_path: Path) -> None:
    copy = repository(tmp_path / "repository")
    copy.change_study(judge_at("http://localhost:1/v1"))
    copy.env = {"PYTHON_JUDGE": ".venv-judge/bin/python"}
    done = copy.snakemake("--dry-run")
    assert done.returncode != 0
    assert (
        "error: judge: verdicts are given in the environment `judge`, and .venv-judge/bin/python "
        "does not exist; run `make judge-env`, or name its python in the variable PYTHON_JUDGE"
    ) in done.stdout
