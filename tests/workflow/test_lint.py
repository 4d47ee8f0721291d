"""Snakemake's own lint of the workflow."""

import subprocess

from lab import ROOT

# one lock serves the whole workflow (`make env`, or an image made from it), so that rules name
# no environment of their own
ACCEPTED = "* Specify a conda environment or container for each rule.:"


def findings(report: str) -> list[str]:
    return [line.strip() for line in report.splitlines() if line.startswith("    * ")]


def test_the_workflow_is_lint_free():
    done = subprocess.run(
        ["snakemake", "--lint"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = findings(done.stdout + done.stderr)
    assert ACCEPTED in found, done.stderr  # the lint did run
    assert [finding for finding in found if finding != ACCEPTED] == []


def test_ci_leaves_no_group_of_tests_out():
    """Those of other environments and of the image have words of their own (CONTRIBUTING.md)."""
    run = (ROOT / ".ci/run").read_text()
    assert "make test SLOW=1 2>&1" in run
    assert "make slurm-test\n" in run
    assert "TESTS=" not in run
    made = subprocess.run(
        ["make", "--dry-run", "test", "SLOW=1", "QUANT=0", "JUDGE=0"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert made.stdout.rstrip().endswith(
        '-m "not cluster and not engine and not quant and not judge"'
    )
