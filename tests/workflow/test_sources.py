"""What the rules watch: the files that a process really imports, and a parse that is pure."""

import importlib.metadata
import json
import os
import subprocess
import sys

import pytest
from lab import ROOT
from workflow_fixtures import repository

from compression_order import methods, orderings
from compression_order.checkpoint import forms
from compression_order.commands import entry
from compression_order.common import closure, declare
from compression_order.study import parse
from compression_order.workflow import sources

STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]
SCRIPTS = sorted((ROOT / "src").glob("*.py"))
KINDS = ("prune", "distill", "finetune", "quantize")


def test_no_script_bears_the_name_of_a_package():
    installed = set(importlib.metadata.packages_distributions()) | set(sys.stdlib_module_names)
    ours = {path.stem for path in SCRIPTS}
    assert not ours & installed


# what the rules watch


@pytest.mark.parametrize("method", methods.REGISTRY)
def test_a_stage_watches_its_own_method_and_no_other(method):
    own = ROOT / "src" / methods.folder(method).replace(".", "/")
    found = closure.of(f"{methods.settings(method).kind}.py", methods.run_module(method))
    assert found[0] == ROOT / "src" / f"{methods.settings(method).kind}.py"
    folders = {path.parent for path in found if path.name == "run.py"}
    assert folders == {own}
    inside = {str(path.relative_to(closure.PACKAGE)) for path in found[1:]}
    assert not [name for name in inside if name.startswith(("costs/", "workflow/", "planning/"))]
    assert not [name for name in inside if name.endswith("settings.py")]
    forms = {name for name in inside if name.startswith("checkpoint/forms/")}
    stored = {"nf4", "int8"} & {method} | ({"packed"} if method in ("gptq", "awq") else set())
    assert len(forms - {"checkpoint/forms/__init__.py", "checkpoint/forms/bnb.py"}) == len(stored)


@pytest.mark.parametrize("form", sorted(forms.REGISTRY))
def test_a_stage_watches_the_forms_of_its_own_pipeline_only(form):
    study = parse.read([ROOT / "studies/smoke.yaml"], ROOT)
    module = forms.REGISTRY[form].replace(".", "/").split("compression_order/")[1] + ".py"
    watching = {
        pipeline
        for pipeline in study.plan.nodes
        if any(path.endswith(module) for path in sources.of_stage(study, pipeline))
    }
    with_q = {pipeline for pipeline in study.plan.nodes if "Q" in orderings.split(pipeline)}
    assert watching == (with_q if form == "bnb-nf4" else set())


def test_a_digest_is_of_bytes_not_of_folders_or_times(tmp_path):
    names = {}
    for folder, text in (("here", "a = 1\n"), ("there", "a = 1\n"), ("edited", "a = 2\n")):
        names[folder] = str(tmp_path / folder / "module.py")
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "module.py").write_text(text)
    os.utime(names["there"], (0, 0))
    here, there, edited = (sources.digest([path]) for path in names.values())
    assert here == there != edited
    assert sources.digest([names["here"], names["edited"]]) not in (here, edited)


# every --help


HELP = """
import contextlib, io, json, runpy, sys
sys.path.insert(0, "src")
told = {}
for line in sys.stdin:
    script, *flags = line.split()
    for name in [n for n in sys.modules if n.split(".")[0] == "compression_order"]:
        del sys.modules[name]
    before = set(sys.modules)
    sys.argv = [script, *flags, "--help"] if script != "-m" else [*flags, "--help"]
    page = io.StringIO()
    with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
        if script == "-m":
            runpy.run_module(flags[0], run_name="__main__", alter_sys=False)
        else:
            runpy.run_path(script, run_name="__main__")
    loaded = sorted(set(sys.modules) - before)
    told[line.strip()] = {"modules": loaded, "help": page.getvalue()}
json.dump(told, sys.stdout)
"""


@pytest.fixture(scope="module")
def helped():
    """Command line -> the modules that were loaded when its help was shown, and the page."""
    lines = []
    for path in SCRIPTS:
        script = f"src/{path.name}"
        chosen = methods.of_kind(path.stem) if path.stem in KINDS else ()
        lines += [f"{script} --method {m}" for m in chosen] or [script]
    lines += [f"-m compression_order.commands {word}" for word in entry.COMMANDS]
    done = subprocess.run(
        [sys.executable, "-c", HELP],
        cwd=ROOT,
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)


def test_help_waits_for_no_heavy_library(helped):
    heavy = {"torch", "transformers", "bitsandbytes", "lm_eval", "datasets", "safetensors",
             "scipy.stats", "pandas", "deepeval", "openai"}  # fmt: skip
    assert {line: heavy & set(its["modules"]) for line, its in helped.items()} == {
        line: set() for line in helped
    }


def test_help_tells_units_and_defaults_of_every_setting(helped):
    for method in methods.REGISTRY:
        its = methods.settings(method)
        page = helped[f"src/{its.kind}.py --method {method}"]["help"]
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
    # a digest stands for the package: its files as inputs of each job make a dry run slow
    assert "src/measure.py" in done.stdout
    assert "src/compression_order/" not in done.stdout
    seen = json.loads((tmp_path / "seen.json").read_text())
    heavy = {"torch", "transformers", "bitsandbytes", "lm_eval", "datasets", "safetensors"}
    assert not heavy & set(seen["modules"])
    assert seen["connected"] == []
    inside = [p for p in seen["written"] if p.startswith(str(copied.root))]
    assert [p for p in inside if "/.snakemake/" not in p and "__pycache__" not in p] == []
    assert copied.files() == before
