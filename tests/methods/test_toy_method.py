"""A method is one folder and one line: docs/add-a-method.md, followed in a copy of the tree."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from extending import examples, inside, lines_added
from lab import Lab
from workflow_fixtures import Copy, repository

FOLDER = "src/compression_order/methods/toy"
REGISTRY = "src/compression_order/methods/__init__.py"
ASKED = """
import contextlib, io, json, runpy, sys
from pathlib import Path
import yaml

def printed(call, *arguments):
    page = io.StringIO()
    with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
        call(*arguments)
    return page.getvalue()

def help_of(method):
    sys.argv = ["src/prune.py", "--method", method, "--help"]
    return printed(lambda: runpy.run_path("src/prune.py", run_name="__main__"))

toy = {"method": "toy", "on_quantized": "requantize", "below": 0.02, "recovery": {"steps": 4}}
config = yaml.safe_load(Path("studies/smoke.yaml").read_text())
config["stages"]["P"] = toy
Path("studies/toy.yaml").write_text(yaml.safe_dump(config))

from compression_order.commands import entry
from compression_order.common.errors import HarnessError
from compression_order.study import parse
from compression_order.workflow import resources, sources
import methods_table

study = parse.read([Path("studies/toy.yaml")], Path.cwd())
needs = resources.needs(study, Path.cwd())
wrong = Path("studies/wrong.yaml")
config["stages"]["P"] = {**toy, "below": 0}
wrong.write_text(yaml.safe_dump(config))
try:
    parse.read([wrong], Path.cwd())
except HarnessError as found:
    fault = str(found)
print(json.dumps({
    "help": help_of("toy"),
    "flags": study.flags("P"),
    "fault": fault,
    "plan": printed(entry.run, ["plan", "--study", "studies/toy.yaml"]),
    "rows": Path("results/smoke/plan.csv").read_text(),
    "needs": {name: [n.memory_mb, n.minutes] for name, n in needs.items()},
    "sources": sources.of_stage(study, "P"),
    "of another": sources.of_stage(study, "KD"),
    "docs": methods_table.write(),
    "torch": "torch" in sys.modules,
}))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The repository with the page's example."""
    made = repository(tmp_path_factory.mktemp("toy") / "repository")
    settings, run = examples("docs/add-a-method.md")
    (made.root / FOLDER).mkdir()
    (made.root / FOLDER / "settings.py").write_text(settings)
    (made.root / FOLDER / "run.py").write_text(run)
    made.edit(REGISTRY, '    "awq",\n)', '    "awq",\n    "toy",\n)')
    return made


@pytest.fixture(scope="module")
def asked(copy: Copy) -> Any:
    """What the copy says of its new method."""
    return inside(copy, ASKED)


def test_a_method_is_one_folder_and_one_line(copy: Copy) -> None:
    added = lines_added(copy)
    assert set(added) == {f"{FOLDER}/settings.py", f"{FOLDER}/run.py", REGISTRY}
    assert added[REGISTRY] == (1, 0)


def test_help_and_study_know_its_settings(asked: Any) -> None:
    words = " ".join(asked["help"].split())
    assert "--below BELOW the threshold (default: 0.01)" in words
    assert "--recovery.steps" in words and ",toy}" in words
    assert {"--method=toy", "--below=0.02", "--recovery.steps=4"} <= set(asked["flags"])
    assert "--recovery.batch-size=4" in asked["flags"]
    assert (
        asked["fault"] == "studies/wrong.yaml: stages.P.below: 0 must be greater than 0; correct it"
    )


def test_plan_and_resources_count_it(asked: Any) -> None:
    assert "P-KD-Q" in asked["plan"]
    rows = [row for row in csv.DictReader(asked["rows"].splitlines()) if row["job"] == "P"]
    assert [row["part"] for row in rows] == ["", "recovery", "proof"]
    megabytes, minutes = asked["needs"]["P"]
    assert megabytes > 1200 and minutes >= 15
    assert not asked["torch"]


def test_only_its_own_stages_watch_its_files(asked: Any) -> None:
    assert f"{FOLDER}/run.py" in asked["sources"]
    assert not [name for name in asked["of another"] if "toy" in name]
    assert REGISTRY not in asked["of another"]


def test_the_table_of_methods_has_it(asked: Any) -> None:
    assert (
        "| [`toy`](#toy) | prune | core | Set every weight below a threshold to zero. |"
        in (asked["docs"])
    )
    assert "| `below` | 0.01 | number, > 0 | the threshold |" in asked["docs"]


def test_it_runs(copy: Copy, lab: Lab, tmp_path: Path) -> None:
    flags = lab.flags(lab.base, tmp_path / "P", "--method=toy", "--below=0.02")
    flags = [flag for flag in flags if not str(flag).startswith(("--ratio", "--seq-len"))]
    done = copy.python("src/prune.py", *flags, "--recovery.steps=2", "--recovery.seq-len=160")
    assert done.returncode == 0, done.stdout
    manifest = json.loads((tmp_path / "P/checkpoint.json").read_text())
    assert (manifest["method"], manifest["settings"]["below"]) == ("toy", 0.02)
    assert manifest["claims"]["zeros"]["retained"] == 1.0
    assert 0.05 < manifest["claims"]["sparsity"]["lowest"] < 1
