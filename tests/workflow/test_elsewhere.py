"""The workflow from another folder, as a module of another workflow, and installed by pip."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from lab import ROOT
from workflow_fixtures import SMOKE, Copy, Job, jobs, link_archives, parse_jobs, repository

pytestmark = pytest.mark.workflow

SPLITS = "results/smoke/splits.json"
TABLE = "results/table.csv"

MODULE = """
configfile: "my-study.yaml"

module order:
    snakefile: "{snakefile}"
    config: config
    {more}

use rule * from order as order_*

rule mine:
    input: "{wanted}"
    output: "mine.txt"
    shell: "sha256sum {{input}} > {{output}}"
"""


@pytest.fixture(scope="module")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the workflow lies: a copy that no run may write to."""
    return repository(tmp_path_factory.mktemp("lies") / "compression-order").root


@pytest.fixture
def folder(tmp_path: Path) -> Copy:
    """A folder of somebody's own, with a study and the fetched archives."""
    made = Copy(tmp_path / "own")
    made.root.mkdir()
    link_archives(made)
    study = yaml.safe_load((ROOT / SMOKE).read_text())
    (made.root / "my-study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    return made


def snakemake(folder: Copy, *words: str, **env: str) -> str:
    """What a run of Snakemake in that folder says."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", *words],
        cwd=folder.root,
        env=os.environ | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def module(folder: Copy, workflow: Path, wanted: str, more: str = "") -> None:
    """A workflow of somebody's own that imports this one."""
    snakefile = os.path.relpath(workflow / "workflow/Snakefile", folder.root)
    text = MODULE.format(snakefile=snakefile, wanted=wanted, more=more)
    (folder.root / "Snakefile").write_text(text)


def planned(said: str) -> set[Job]:
    """The jobs of a dry run, by the names that they have in this workflow."""
    return {(rule.removeprefix("order_"), which) for rule, which in parse_jobs(said)}


def test_from_another_folder_the_sources_stay_and_results_come_here(
    folder: Copy, workflow: Path
) -> None:
    before = {path for path in workflow.rglob("*") if "__pycache__" not in path.parts}
    snakefile = os.path.relpath(workflow / "Snakefile", folder.root)
    here = ["-s", snakefile, "--configfile", "my-study.yaml"]
    assert jobs(["P", "KD-Q-P"]) <= planned(snakemake(folder, TABLE, "-n", *here))
    snakemake(folder, SPLITS, *here)
    assert (folder.root / SPLITS).is_file()
    after = {path for path in workflow.rglob("*") if "__pycache__" not in path.parts}
    assert after == before
    assert "Nothing to be done" in snakemake(folder, SPLITS, "-n", *here)


def test_as_a_module_of_another_workflow(folder: Copy, workflow: Path) -> None:
    module(folder, workflow, TABLE)
    assert jobs(["P", "KD-Q-P"]) <= planned(snakemake(folder, "mine.txt", "-n"))
    module(folder, workflow, SPLITS)
    snakemake(folder, "mine.txt")
    assert (folder.root / "mine.txt").read_text().endswith(f"{SPLITS}\n")


def test_a_prefix_is_refused(folder: Copy, workflow: Path) -> None:
    module(folder, workflow, TABLE, more='prefix: "sub"')
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "mine.txt"],
        cwd=folder.root, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert "error: module: prefix: " in done.stdout + done.stderr


@pytest.mark.network
def test_an_installed_package_brings_the_workflow(folder: Copy, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", installed]
    subprocess.run([*pip, str(ROOT)], check=True, timeout=300)
    workflow = installed / "compression_order/workflow_files"
    # `python` must not find this checkout, which the environment has as an editable package
    code = f"import compression_order; assert '{installed}' in compression_order.__file__"
    paths = {"PYTHONPATH": str(installed)}
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | paths)
    here = ["-s", str(workflow / "Snakefile"), "--configfile", "my-study.yaml"]
    said = snakemake(folder, TABLE, "-n", "-p", *here, **paths)
    assert jobs(["P", "KD-Q-P"]) <= planned(said)
    assert f"python {workflow}/src/prune.py" in said
    assert f"{ROOT}/src" not in said
    plan = ["plan", "--study", "my-study.yaml"]
    done = subprocess.run(
        [installed / "bin/compression-order", *plan],
        cwd=folder.root, env=os.environ | paths, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "KD-Q-P" in done.stdout
