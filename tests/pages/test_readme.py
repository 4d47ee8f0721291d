"""Every command of the README, run in a fresh copy of the repository, in the README's order.

This is also where the default study runs for real: real weights, real text, its sixteen rows, with
the sizes of `studies/overlays/quick.yaml`. FULL=1 runs it in its own sizes, 25 to 60 minutes, and
checks what starting processes takes of it.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from lab import ROOT
from workflow_fixtures import SMOKE

from compression_order.study import parse

BLOCK = re.compile(r"^```sh\n(.*?)^```", re.M | re.S)
# `make test` runs this test, it cannot run itself; other tests run the rest
ELSEWHERE = ("make test", "make slurm-test", "make image", "docker ", "make smoke")
# test_slurm.py runs what stands in a block with one of these words
ELSEWHERE_BLOCK = ("profiles/slurm",)
FULL = os.environ.get("FULL") == "1"
STARTING = 0.15  # most that process start, imports and loading may take of all process seconds
PIPELINES = "base P KD Q P-KD P-Q KD-P KD-Q Q-P Q-KD P-KD-Q P-Q-KD KD-P-Q KD-Q-P Q-P-KD Q-KD-P"


def commands() -> list[str]:
    lines = [
        line
        for block in BLOCK.findall((ROOT / "README.md").read_text())
        if not any(word in block for word in ELSEWHERE_BLOCK)
        for line in block.splitlines()
    ]
    return list(dict.fromkeys(line.split(" #")[0].strip() for line in lines if line.strip()))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A clone with this checkout's environment and fetched packages, and nothing else."""
    folder = tmp_path_factory.mktemp("readme") / "clone"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, tracked.stdout.decode().split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        # with its time: `make` installs the command anew where pyproject.toml is newer
        shutil.copy2(ROOT / name, folder / name)
    if (ROOT / ".venv").exists():
        (folder / ".venv").symlink_to(ROOT / ".venv")
    if not FULL:
        paths = [folder / "config.yaml", folder / "studies/overlays/quick.yaml"]
        name = yaml.safe_load(paths[0].read_text())["study"]
        file = parse.read(paths, folder).file
        quick = {**file.model_dump(exclude_unset=True), "study": name}
        paths[0].write_text(yaml.safe_dump(quick, sort_keys=False))
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    environment["PATH"] = f"{folder}/.venv/bin:{environment['PATH']}"
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def starting_share(results: Path) -> float:
    costs = [json.loads(path.read_text()) for path in results.rglob("costs/**/*.json")]
    return sum(c["startup_s"] + c["load_s"] for c in costs) / sum(c["wall_s"] for c in costs)


def test_the_readme_has_commands():
    assert {
        "make table",
        "make smoke",
        "make test",
        "snakemake --cores 1 results/table.csv",
    } <= set(commands())


def test_make_smoke_is_the_run_that_tests_share():
    """`workflow_fixtures.finished` runs it; one more would show nothing new."""
    done = run("make --dry-run smoke", ROOT)
    assert done.returncode == 0, done.stderr
    words = done.stdout[done.stdout.index("snakemake ") :].split()
    assert words[1:3] == ["results/smoke/table.csv", "results/smoke/findings.md"]
    assert words[words.index("--configfile") + 1] == SMOKE


def rows(page: str) -> dict[str, list[str]]:
    """Pipeline -> its cells, of the first table of a page with pipelines."""
    table = re.search(r"^\| pipeline .*?\n(?=\n)", (ROOT / page).read_text(), re.M | re.S)
    assert table
    lines = [line.strip("| ").split(" | ") for line in table[0].splitlines()]
    return {line[0]: line[1:] for line in lines if line[1:]}


def test_the_short_table_is_part_of_the_full_one():
    full, short = rows("docs/results.md"), rows("README.md")
    assert len(short) == 1 + 7  # the heading and the rows
    for pipeline, cells in short.items():
        assert set(cells) <= set(full[pipeline]), pipeline


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.slow
def test_every_command_of_the_readme_runs(checkout):
    for command in commands():
        if command.startswith(ELSEWHERE):
            continue
        began = time.monotonic()
        done = run(command, checkout)
        seconds = time.monotonic() - began
        print(f"{seconds:7.1f} s  {command}")
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        if command == "make table":
            check_default_table(checkout, done.stdout + done.stderr)
        if command == "make plan":
            check_plan_beside_costs(checkout)
        if command == "make verdict":
            check_verdict(checkout, done.stdout)


def check_default_table(checkout: Path, said: str) -> None:
    rows = list(csv.DictReader((checkout / "results/table.csv").open()))
    assert [row["pipeline"] for row in rows] == PIPELINES.split()
    assert all(cell for row in rows for cell in row.values())
    measured = [k for k in rows[0] if not k.startswith(("published", "q_before", "note"))]
    assert "n/a" not in {row[k] for row in rows for k in measured}
    assert "Best order at full compression" in said
    share = starting_share(checkout / "results/smollm2-135m")
    print(f"process start, imports and loading: {share:.1%} of process seconds")
    assert share <= STARTING or not FULL


def check_plan_beside_costs(checkout: Path) -> None:
    """Every job of the default study has run, so every one has what it took beside its plan."""
    rows = list(csv.DictReader((checkout / "results/smollm2-135m/plan.csv").open()))
    jobs = [row for row in rows if row["peak_bytes"]]
    assert len(jobs) == 1 + 2 + 15 + 16
    for row in jobs:
        assert row["measured_copies"] == row["copies"], row["job"]
        assert float(row["measured_s"]) > float(row["measured_work_s"]) >= 0
    assert not [row for row in rows if row not in jobs and row["measured_s"]]


def check_verdict(checkout: Path, said: str) -> None:
    """The model is not the published one: its sizes cannot be tested, its orders can."""
    rows = list(csv.DictReader((checkout / "results/smollm2-135m/verdict.csv").open()))
    assert {row["verdict"] for row in rows if row["about"] == "size"} == {"not testable here"}
    tested = {row["claim"] for row in rows if row["verdict"] != "not testable here"}
    assert {"one-size", "kd-below-base", "early-q-collapses", "ranking-perplexity"} <= tested
    assert "It can speak to how pipelines relate, not to absolute sizes" in " ".join(said.split())
