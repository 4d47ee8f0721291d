"""A training stage killed half way resumes from its snapshot and ends with the same bytes."""

import logging
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab import ROOT, SCRIPTS, SEQ_LEN, Lab, inside, steps_done, training_flags

STEPS = 24


def kill_half_way(command: list[str], snapshot: Path) -> int:
    """Start a stage and SIGKILL it in the middle of its training; the steps it had stored."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    quiet = subprocess.DEVNULL
    stage = subprocess.Popen(command, cwd=ROOT, env=env, stdout=quiet, stderr=quiet)
    deadline = time.monotonic() + 100
    while steps_done(snapshot) < STEPS // 4:
        assert stage.poll() is None, "the stage ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stage.kill()
    assert stage.wait() == -9
    done = steps_done(snapshot)
    assert done < STEPS
    return done


@dataclass(frozen=True)
class Killed:
    """A killed stage and the same stage left alone.

    Attributes:
        flags: all flags but --work.
        out: where its checkpoint goes.
        snapshot: what it left, to be copied.
        done: steps in it.
        whole: the checkpoint of the uninterrupted run.
    """

    script: str
    flags: list[str]
    out: Path
    snapshot: Path
    done: int
    whole: Path

    def work(self, tmp_path: Path) -> Path:
        """A work folder with a copy of the snapshot."""
        work = tmp_path / "work"
        work.mkdir()
        shutil.copy(self.snapshot, work / "snapshot.safetensors")
        return work

    def is_whole(self) -> None:
        """The checkpoint equals the uninterrupted run's, file by file."""
        names = sorted(path.name for path in self.whole.iterdir())
        assert sorted(path.name for path in self.out.iterdir()) == names
        assert {"checkpoint.json", "model.safetensors"} <= set(names)
        for name in names:
            assert (self.out / name).read_bytes() == (self.whole / name).read_bytes(), name


# the same with the moments in 8 bits, two batches a step and bf16 weights
NARROW = (
    *("--recovery.optimizer=adamw-8bit", "--recovery.weights=bfloat16"),
    *("--recovery.accumulation=2", "--recovery.batch-size=2"),
)
RUNS: dict[str, tuple[str, ...]] = {"Q-KD": (), "P": (), "P, narrow": NARROW}


@pytest.fixture(scope="module", params=RUNS)
def killed(
    request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Killed:
    """A distillation of a 4-bit parent, and prunings with recovery."""
    name: str = request.param.split(",")[0]
    folder = tmp_path_factory.mktemp("killed")
    work, out = folder / "work", folder / "checkpoints" / name
    parent = lab.quantized if name == "Q-KD" else lab.base
    prefix = "training" if name == "Q-KD" else "recovery"
    how = ["--snapshot-seconds=0", *training_flags(prefix, steps=STEPS, seq_len=SEQ_LEN)]
    how += RUNS[request.param]
    flags = [*map(str, lab.flags(parent, out, *how, "--costs", folder / "costs"))]
    script = SCRIPTS[name.rsplit("-", 1)[-1]]
    whole = folder / "whole" / name
    inside(script, *flags, "--work", folder / "other", "--out", whole)
    command = [sys.executable, f"src/{script}.py", *flags, "--work", str(work)]
    done = kill_half_way(command, work / "snapshot.safetensors")
    assert STEPS // 4 <= done < STEPS
    assert not out.exists()
    return Killed(script, flags, out, work / "snapshot.safetensors", done, whole)


def test_it_resumes_and_ends_with_the_bytes_of_an_uninterrupted_run(
    killed: Killed, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work = killed.work(tmp_path)
    with caplog.at_level(logging.INFO, "compression_order"):
        inside(killed.script, *killed.flags, "--work", work)
    assert f"snapshot.safetensors at step {killed.done}" in caplog.text
    killed.is_whole()
    assert not work.exists()  # the snapshot of a finished stage is of no more use
    assert [path.name for path in killed.out.parent.iterdir()] == [killed.out.name]


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_a_truncated_snapshot_is_passed_over(
    share: float, killed: Killed, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work = killed.work(tmp_path)
    with (work / "snapshot.safetensors").open("r+b") as stream:
        stream.truncate(int(share * killed.snapshot.stat().st_size))
    with caplog.at_level(logging.INFO, "compression_order"):
        inside(killed.script, *killed.flags, "--work", work)
    assert "is damaged; starting anew" in caplog.text
    killed.is_whole()


def passed_over(
    killed: Killed, tmp_path: Path, caplog: pytest.LogCaptureFixture, *change: str
) -> None:
    """With the flags changed, a stage that finds the snapshot ends like one that finds none."""
    folder = tmp_path / "work"
    made = []
    for run, work in (("one", killed.work(tmp_path)), ("two", tmp_path / "none")):
        out = tmp_path / run / killed.out.name
        caplog.clear()
        with caplog.at_level(logging.INFO, "compression_order"):
            inside(killed.script, *killed.flags, *change, "--out", out, "--work", work)
        assert ("belongs to a run with other settings" in caplog.text) == (work == folder)
        assert "resumed from" not in caplog.text
        made.append(
            [(out / name).read_bytes() for name in ("checkpoint.json", "model.safetensors")]
        )
    assert made[0] == made[1]


def test_a_snapshot_of_other_settings_is_passed_over(
    killed: Killed, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prefix = "training" if killed.script == "distill" else "recovery"
    changes = [f"--{prefix}.learning-rate=2e-3", f"--{prefix}.steps=2"]
    passed_over(killed, tmp_path, caplog, *changes)


def test_a_snapshot_of_another_parent_is_passed_over(
    killed: Killed, lab: Lab, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = lab.base if killed.script == "distill" else lab.quantized
    passed_over(killed, tmp_path, caplog, "--parent", str(other))


def test_a_snapshot_of_another_seed_is_passed_over(
    killed: Killed, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    passed_over(killed, tmp_path, caplog, "--seed=5")


@pytest.mark.parametrize("killed", ["Q-KD"], indirect=True)  # only a distillation has a teacher
def test_a_snapshot_of_another_teacher_is_passed_over(
    killed: Killed, lab: Lab, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "teacher.safetensors"
    source = ["--student", lab.quantized, *lab.read(), f"--seq-len={SEQ_LEN}"]
    inside("teach", *source, "--costs", tmp_path / "costs", "--out", other)
    passed_over(killed, tmp_path, caplog, "--teacher-outputs", str(other))


def test_what_a_killed_write_left_aside_goes(killed: Killed, tmp_path: Path) -> None:
    """A process killed while it writes a snapshot leaves `.snapshot.safetensors.PID.partial`."""
    work = killed.work(tmp_path)
    (work / ".snapshot.safetensors.4194303.partial").write_bytes(b"half of it")
    inside(killed.script, *killed.flags, "--work", work, "--out", tmp_path / killed.out.name)
    assert not work.exists()
