"""The findings in docs/ are those of the records beside them."""

import subprocess
import sys
from pathlib import Path

import pytest

from compression_order import study_file

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

# page, the study that was laid over the replicates of the default study, its records
RECORDS = [f"seed{seed}.tar.xz" for seed in (0, 1, 2)]
PAGES = {"findings.md": ("orders.yaml", RECORDS), "findings-controls.md": ("controls.yaml", RECORDS)}


@pytest.mark.parametrize("page", PAGES)
def test_the_page_is_that_of_its_records(page: str, tmp_path: Path) -> None:
    overlay, names = PAGES[page]
    layers = [ROOT / "config.yaml", ROOT / "studies/overlays/certainty.yaml"]
    layers.append(DOCS / "records" / overlay)
    records = [DOCS / "records" / name for name in names]
    asked = study_file.read(layers, ROOT)
    (tmp_path / "published").symlink_to(ROOT / "published")

    def run(script: str, *flags: object) -> None:
        command = [sys.executable, ROOT / "src" / script, *map(str, flags)]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=300)

    run("record.py", "--study", *layers, "--unpack", *records)
    made = tmp_path / page
    flags = [*asked.table_flags(), *asked.row_flags(), f"--json={tmp_path / 'analysis.json'}"]
    run("analyze.py", *flags, f"--markdown={made}")
    assert made.read_text() == (DOCS / page).read_text()
