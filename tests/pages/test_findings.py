"""The findings in docs/ are those of the records beside them."""

import subprocess
import sys
from pathlib import Path

from lab import ROOT

from compression_order.study import parse

DOCS = ROOT / "docs"


def test_the_page_is_that_of_its_records(tmp_path: Path) -> None:
    layers = [ROOT / "config.yaml", ROOT / "studies/overlays/certainty.yaml"]
    asked = parse.read(layers, ROOT)
    (tmp_path / "published").symlink_to(ROOT / "published")

    def run(script: str, *flags: object) -> None:
        command = [sys.executable, ROOT / "src" / script, *map(str, flags)]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=600)

    records = sorted((DOCS / "records").glob("*.tar.xz"))
    run("record.py", "--study", *layers, "--unpack", *records)
    made = tmp_path / "findings.md"
    flags = [*asked.table_flags(), *asked.row_flags(), f"--json={tmp_path / 'analysis.json'}"]
    run("analyze.py", *flags, f"--markdown={made}")
    assert made.read_text() == (DOCS / "findings.md").read_text()
