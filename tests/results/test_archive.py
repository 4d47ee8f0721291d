"""Records of runs: packed, unpacked, and the same table and findings from them without a model."""

import io
import shutil
import tarfile
from contextlib import chdir

import pytest
import yaml
from fault_fixtures import the_error
from results_tree import ask
from workflow_fixtures import ROWS, SMOKE, TABLE, Copy, after_run, content, finished

__all__ = ["after_run", "finished"]  # fixtures

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

RECORD = "smoke.tar.xz"
REREAD = ("--allowed-rules", "table", "analysis", "main_table", "--forcerun", "table", "analysis")


def record(copy: Copy, *flags: str) -> str:
    """Run the command in the copy; its error where it fails."""
    with chdir(copy.root):
        done = ask("record", f"--study={SMOKE}", *flags)
    return "" if done.returncode == 0 else the_error(done.stderr)


def packed(copy: Copy) -> bytes:
    assert record(copy, f"--pack={RECORD}") == ""
    return (copy.root / RECORD).read_bytes()


def test_the_same_table_and_findings_without_a_model(after_run: Copy) -> None:
    archive, before = packed(after_run), content(after_run)
    assert packed(after_run) == archive
    assert len(archive) < 500_000
    shutil.rmtree(after_run.root / "results")
    shutil.rmtree(after_run.root / "assets")
    for _ in range(2):  # what is there already, and equal, is no fault
        assert record(after_run, f"--unpack={RECORD}") == ""
    done = after_run.snakemake(TABLE, *REREAD)
    assert done.returncode == 0, done.stdout[-4000:]
    after = content(after_run)
    told = yaml.safe_load(after.pop("smoke/study.yaml"))  # the record's own
    assert told["stages"] and "seeds" not in told
    assert after == {path: before[path] for path in after}
    assert {"table.csv", "findings.md", "smoke/analysis.json", "smoke/changes.csv"} <= after.keys()
    assert sum(path.endswith("checkpoint.json") for path in after) == len(ROWS)
    assert not any(path.endswith(".safetensors") for path in after)


def test_what_is_there_and_differs_is_not_overwritten(after_run: Copy) -> None:
    packed(after_run)
    changed = after_run.checkpoint("P") / "checkpoint.json"
    changed.write_text(changed.read_text() + "\n")
    shutil.rmtree(after_run.checkpoint("Q"))
    before = content(after_run)
    told = record(after_run, f"--unpack={RECORD}")
    assert "seed0/checkpoints/P/checkpoint.json is there already and differs" in told
    assert content(after_run) == before  # and Q was not put back: all of a record, or none


def test_an_unfinished_study_is_not_packed(after_run: Copy) -> None:
    (after_run.root / "results/smoke/seed0/evaluations/P-Q/lm_eval.json").unlink()
    assert "evaluations/P-Q/lm_eval.json" in record(after_run, f"--pack={RECORD}")
    assert not (after_run.root / RECORD).exists()


def test_what_is_no_record(after_run: Copy) -> None:
    assert "does not exist" in record(after_run, "--unpack=none.tar.xz")
    (after_run.root / "cut.tar.xz").write_bytes(packed(after_run)[:2000])
    (after_run.root / "text.tar.xz").write_text("a text\n")
    for name in ("cut", "text"):
        assert f"{name}.tar.xz is not a record" in record(after_run, f"--unpack={name}.tar.xz")
    for member in ("results/other/seed0/x.json", "results/smoke/../../outside", "/etc/outside"):
        with tarfile.open(after_run.root / "other.tar.xz", "w:xz") as archive:
            archive.addfile(tarfile.TarInfo(member), io.BytesIO())
        told = record(after_run, "--unpack=other.tar.xz")
        assert "which is not a result of smoke" in told
