"""What the tests of faults need: broken-off jobs, a full disk, and the one sentence of an error."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from workflow_fixtures import ROOT, Copy


def wait_for_job(root: Path, script: str, library: str, timeout: float = 120) -> int:
    """The process of a job in `root` that runs `script`, once it has loaded `library`."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for process in Path("/proc").glob("[0-9]*"):
            if _runs(process, root, script) and library in _read(process / "maps"):
                return int(process.name)
        time.sleep(0.05)
    raise AssertionError(f"no job ran {script} in {timeout} s")


def _runs(process: Path, root: Path, script: str) -> bool:
    words = _read(process / "cmdline").split("\0")
    try:
        return words[1:2] == [script] and (process / "cwd").readlink() == root
    except OSError:
        return False


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # the process is gone
        return ""


def interrupt(process: subprocess.Popen[str]) -> int:
    """What Ctrl-C in a terminal does: SIGINT to the whole group; the exit status."""
    os.killpg(process.pid, signal.SIGINT)
    return process.wait(timeout=60)


def the_error(output: str) -> str:
    """The one sentence of a job or a parse that failed as it should, without a traceback.

    Snakemake shows a failed job's log again below the job's own output.
    """
    assert "Traceback" not in output, output
    told = {line for line in output.splitlines() if line.startswith("error: ")}
    assert len(told) == 1, output
    return told.pop()


FULL = """
mount -t tmpfs -o size="$1" none "$2" || exit 77
shift 2
"$@"
status=$?
echo "LEFT: $(find "$FOLDER" -type f -not -name filler -printf '%P ')"
exit $status
"""


def on_full_disk(size: str, folder: Path, *command: object) -> tuple[int, str, list[str]]:
    """Run a command while `folder` is a file system of `size`; status, output, files left there.

    The file system exists in a mount namespace of its own, so nothing is left mounted.
    """
    if not shutil.which("unshare"):
        pytest.skip("no unshare here, so no small file system can be made")
    alone = ["unshare", "--mount", "--map-root-user", "sh", "-c", FULL, "sh", size, str(folder)]
    done = subprocess.run(
        [*alone, *map(str, command)],
        env=Copy(Path(folder).parent, {"FOLDER": str(folder)}).environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    if done.returncode == 77 or "unshare failed" in done.stdout or "LEFT: " not in done.stdout:
        pytest.skip(f"no small file system can be mounted here: {done.stdout.strip()}")
    output, _, left = done.stdout.rpartition("LEFT: ")
    return done.returncode, output, left.split()
