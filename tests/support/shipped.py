"""The records in docs/, and what the workflow makes of them: findings without a model."""

import contextlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lab import ROOT
from results_tree import ask, command

import findings
from compression_order.study import parse

LAYERS = [ROOT / "config.yaml", ROOT / "studies/overlays/first-experiment.yaml"]
RECORDS = sorted((ROOT / "docs/records/first").glob("*.tar.xz"))


@dataclass(frozen=True)
class Made:
    """What is made of the records.

    Attributes:
        page: findings.md.
        analysis: analysis.json.
    """

    page: str
    analysis: dict[str, Any]


@cache
def made() -> Made:
    """Unpack the records and analyse them, once."""
    asked = parse.read(LAYERS, ROOT)
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        page, analysis = Path("findings.md"), Path("analysis.json")
        run(ask("record", "--study", *LAYERS, "--unpack", *RECORDS))
        flags = [*asked.table_flags(), *asked.row_flags()]
        run(command(findings.main, *flags, f"--json={analysis}", f"--markdown={page}"))
        return Made(page.read_text(), json.loads(analysis.read_text()))


def run(done: Any) -> None:
    """Require that a command succeeded."""
    assert done.returncode == 0, done.stderr
