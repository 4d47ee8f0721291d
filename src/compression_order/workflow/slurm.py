"""Refuse to start while Slurm jobs of a killed run remain in the same folder.

A killed Snakemake forgets its submitted jobs and would submit them a second time while they still
run. Pure Python; does nothing where no Slurm answers.
"""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from compression_order.common.errors import HarnessError

# number, state, working folder, and the comment that the executor plugin gives its jobs
QUERY = ("squeue", "--me", "--noheader", "--format=%A|%T|%Z|%k")
MARK = "rule_"
PATIENCE = 60  # time to wait for an answer, s


def jobs(lines: Iterable[str], folder: Path) -> list[str]:
    """The numbers of Snakemake's jobs in `folder`, of `squeue` lines in the form of `QUERY`."""
    found = []
    for line in lines:
        number, _, where, comment = line.strip().split("|", 3)
        if comment.startswith(MARK) and Path(where) == folder:
            found.append(number)
    return found


def require_none(folder: Path) -> None:
    """Refuse to start while jobs of an earlier run remain.

    Raises:
        HarnessError: such jobs exist.
    """
    if not shutil.which(QUERY[0]):
        return
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return
    if done.returncode != 0:
        return
    numbers = " ".join(jobs(done.stdout.splitlines(), folder))
    if numbers:
        raise HarnessError(
            f"jobs of an earlier run in this folder are still in Slurm: {numbers}; wait until they "
            f"have ended or cancel them (scancel {numbers}), then run the same command again"
        )
