"""A family is one file and one line: docs/add-a-family.md, followed in a copy of the tree."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from extending import examples, inside, lines_added
from workflow_fixtures import Copy, repository

FOLDER = "src/compression_order/architecture/families"
TEST = "tests/architecture/test_families.py"
SMALL = {  # a small model of the family
    "model_type": "ernie4_5",
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 12,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 48000,
    "tie_word_embeddings": False,
}
ASKED = """
import contextlib, io, json, sys
from pathlib import Path
from compression_order.architecture import families, shapes
from compression_order.commands import entry
from compression_order.common import closure

page = io.StringIO()
with contextlib.redirect_stdout(page):
    entry.run(["plan", "--study", "studies/smoke.yaml", "--architecture", "ernie-small"])
try:
    shapes.from_config({**json.loads(Path("architectures/ernie-small.json").read_text()),
                        "model_type": "mamba"}, "a.json")
except Exception as found:
    fault = str(found)
print(json.dumps({"plan": page.getvalue(), "parameters": shapes.named("ernie-small").parameters,
                  "watched": [str(path) for path in closure.of("measure.py")],
                  "fault": fault, "torch": "torch" in sys.modules}))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The repository with the page's example."""
    made = repository(tmp_path_factory.mktemp("family") / "repository")
    family, row = examples("docs/add-a-family.md")
    (made.root / FOLDER / "ernie4_5.py").write_text(family)
    registry = f"{FOLDER}/__init__.py"
    made.edit(registry, '    "qwen2",\n', '    "qwen2",\n    "ernie4_5",\n')
    made.edit(TEST, '    "qwen2": False,\n', f'    "qwen2": False,\n{row}')
    (made.root / "architectures/ernie-small.json").write_text(json.dumps(SMALL))
    return made


def test_a_family_is_one_file_one_line_and_one_row(copy: Copy) -> None:
    added = lines_added(copy)
    assert set(added) == {f"{FOLDER}/__init__.py", f"{FOLDER}/ernie4_5.py", TEST}
    assert added[f"{FOLDER}/__init__.py"] == (1, 0)
    assert added[TEST] == (1, 0)


def test_a_study_is_planned_with_it(copy: Copy) -> None:
    asked: Any = inside(copy, ASKED)
    layer = 1024 * (1024 + 512 + 512 + 1024) + 3 * 1024 * 2816 + 2 * 1024
    assert asked["parameters"] == 12 * layer + 1024 + 2 * 48000 * 1024
    assert "P-KD-Q" in asked["plan"]
    assert "llama, qwen2, ernie4_5;" in asked["fault"]
    assert not asked["torch"]
    watched = [name.split("architecture/")[1] for name in asked["watched"] if "families" in name]
    assert watched == ["families/family.py"]


def test_its_row_of_the_family_test_passes(copy: Copy, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", TEST, "-k", "ernie4_5 or row"]
    done = subprocess.run(
        [*command, f"--basetemp={tmp_path / 'inner'}", "-p", "no:cacheprovider"],
        cwd=copy.root,
        env={**copy.environment(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert "16 passed" in done.stdout
