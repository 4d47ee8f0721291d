"""What the rules watch: the files that a process really imports, and a parse that is pure."""

import importlib.metadata
import json
import subprocess
import sys

import pytest
from imports import PROGRAM as IMPORTS
from lab import ROOT
from workflow_fixtures import repository

from compression_order import methods
from compression_order.common import closure, declare

STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]
SCRIPTS = sorted((ROOT / "src").glob("*.py"))
# they run in an environment of their own: tests/judge/test_judging.py looks at them there
ELSEWHERE = {"judge.py", "judge_steps.py"}
KINDS = {f"{kind}.py": kind for kind in ("prune", "distill", "finetune", "quantize")}


def test_no_script_bears_the_name_of_a_package():
    installed = set(importlib.metadata.packages_distributions()) | set(sys.stdlib_module_names)
    ours = {path.stem for path in SCRIPTS} | {"compression_order"}
    assert not ours & installed


@pytest.fixture(scope="module")
def imported():
    """Command line -> the files of the package that its process imports, and its help page."""
    lines = []
    for path in (p for p in SCRIPTS if p.name not in ELSEWHERE):
        script = f"src/{path.name}"
        chosen = methods.of_kind(KINDS.get(path.name, ""))
        lines += [f"{script} --method {m}" for m in chosen] or [script]
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS],
        cwd=ROOT,
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)


def test_the_closure_is_what_the_process_imports(imported):
    registry = "src/compression_order/methods/__init__.py"
    assert len(imported) >= len(SCRIPTS) - len(ELSEWHERE)
    for line, found in imported.items():
        script, *flags = line.split()
        modules = [methods.REGISTRY[flags[-1]][1]] if flags else []
        known = set(closure.closure(str(ROOT), script, *modules))
        assert {*found["files"], script} - {registry} == known, line


def test_help_tells_units_and_defaults_of_every_setting(imported):
    for method in methods.REGISTRY:
        its = methods.settings(method)
        page = imported[f"src/{its.kind}.py --method {method}"]["help"]
        words = " ".join(page.split())
        for name, field, _ in declare.leaves(its):
            assert f"--{name.replace('_', '-')}" in page
            assert f"{field.description} (default: " in words, name


# parsing the Snakefile is pure

AUDIT = """
import atexit, json, os, sys
seen = {"connected": [], "written": []}

def hook(event, args):
    if event == "socket.connect":
        seen["connected"].append(repr(args[1]))
    if event == "open" and isinstance(args[0], str) and args[2] and args[2] & 3:
        seen["written"].append(os.path.abspath(args[0]))

sys.addaudithook(hook)

@atexit.register
def tell():
    seen["modules"] = sorted({name.split(".")[0] for name in sys.modules})
    with open(os.environ["AUDIT"], "w") as out:
        json.dump(seen, out)
"""


@pytest.mark.workflow
@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.name)
def test_parsing_imports_no_torch_and_touches_neither_network_nor_files(path, tmp_path):
    copied = repository(tmp_path / "repository")
    before = copied.files()
    (tmp_path / "sitecustomize.py").write_text(AUDIT)
    copied.env = {
        "PYTHONPATH": str(tmp_path),
        "AUDIT": str(tmp_path / "seen.json"),
        "PYTHON_QUANT": sys.executable,  # a dry run does not start it
    }
    done = copied.snakemake("results/table.csv", "--dry-run", study=str(path.relative_to(ROOT)))
    assert done.returncode == 0, done.stdout
    seen = json.loads((tmp_path / "seen.json").read_text())
    heavy = {"torch", "transformers", "bitsandbytes", "lm_eval", "datasets", "safetensors"}
    assert not heavy & set(seen["modules"])
    assert seen["connected"] == []
    inside = [p for p in seen["written"] if p.startswith(str(copied.root))]
    assert [p for p in inside if "/.snakemake/" not in p and "__pycache__" not in p] == []
    assert copied.files() == before
