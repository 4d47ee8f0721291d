"""docs/executors.md: its commands plan the whole study. Dry runs only, as the page says."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from lab import ROOT
from slurm_cluster import CONTROLLER
from workflow_fixtures import ROWS, TABLES, Copy, jobs, parse_jobs, repository

PAGE = (ROOT / "docs/executors.md").read_text()
WHOLE = jobs(ROWS[1:]) | {("measure", "base"), ("base", ""), ("teach", "KD"), ("reference", "")}

pytestmark = [pytest.mark.cluster, pytest.mark.workflow]


def planned(copy: Copy, command: list[str], path: str) -> set[tuple[str, str]]:
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=copy.root, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return parse_jobs(done.stdout)


def test_the_command_for_grid_engine_plans_the_study(tmp_path: Path):
    block = re.search(r"^snakemake results/table.csv(.*?)^```", PAGE, re.M | re.S)
    assert block
    words = shlex.split(block[0].removesuffix("```").replace("\\\n", " "))
    assert "cluster-generic" in words
    found = planned(repository(tmp_path / "copy"), [*words, "--dry-run"], f"{CONTROLLER}/bin")
    assert found >= WHOLE | TABLES


def test_the_pod_plans_the_study(tmp_path: Path):
    block = re.search(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
    assert block
    container = yaml.safe_load(block[1])["spec"]["template"]["spec"]["containers"][0]
    command = [*container["command"], *container["args"], "--dry-run"]
    copy = repository(tmp_path / "copy")
    assert planned(copy, command, str(Path(sys.executable).parent)) >= WHOLE | TABLES
