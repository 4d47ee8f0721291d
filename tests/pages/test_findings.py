"""The findings in docs/ are those of the records beside them."""

from pathlib import Path

import pytest
from lab import ROOT
from results_tree import ask, command

import findings
from compression_order.study import parse

DOCS = ROOT / "docs"


def test_the_page_is_that_of_its_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [ROOT / "config.yaml", ROOT / "studies/overlays/certainty.yaml"]
    asked = parse.read(layers, ROOT)
    monkeypatch.chdir(tmp_path)
    records = sorted((DOCS / "records").glob("*.tar.xz"))
    done = ask("record", "--study", *layers, "--unpack", *records)
    assert done.returncode == 0, done.stderr
    made = tmp_path / "findings.md"
    flags = [*asked.table_flags(), *asked.row_flags(), f"--json={tmp_path / 'analysis.json'}"]
    done = command(findings.main, *flags, f"--markdown={made}")
    assert done.returncode == 0, done.stderr
    assert made.read_text() == (DOCS / "findings.md").read_text()
