"""Some pipelines of the smoke study and one long training, run here and on a Slurm."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab import steps_done
from slurm_cluster import CONTROLLER, Cluster, SlurmJob, running, wait_until
from slurm_cluster import cannot_start as cluster_cannot_start
from workflow_fixtures import ROOT, SMOKE, TABLE, Copy, link_archives, repository

LONG, STEPS = "L", 700  # a pruning with this many steps of recovery; about half a minute
# stages side by side, stages after each other, and a prefix that two pipelines share
ORDERINGS = ["P", "KD", "Q", "P-KD", "P-KD-Q", "Q-KD"]
BLOCK = re.compile(r"^```sh\n(?=[^`]*profiles/slurm)(.*?)^```", re.M | re.S)


def add_long_stage(study: dict[str, Any]) -> None:
    """A few pipelines, and one with a training that is long enough to be struck."""
    long = json.loads(json.dumps(study["stages"]["P"]))
    long["recovery"]["steps"] = STEPS
    study["stages"][LONG] = long
    study["orderings"] = [*ORDERINGS, LONG]


def prepared(target: Path) -> Copy:
    """A copy of the repository with the long stage, a snapshot a second, and its environments."""
    copy = repository(target)
    copy.change_study(add_long_stage)
    copy.edit("src/compression_order/stages/flags.py", "default=60,", "default=1,")
    link_archives(copy)
    (copy.root / ".venv").symlink_to(sys.prefix)
    (copy.root / ".venv-controller").symlink_to(CONTROLLER)
    return copy


@dataclass(frozen=True)
class Local:
    """The study run on this machine, on two cores: never changed, only copied."""

    copy: Copy
    seconds: float


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Local:
    """The run that all others must equal."""
    copy = prepared(tmp_path_factory.mktemp("local") / "repository")
    began = time.monotonic()
    done = copy.snakemake(timeout=3600)
    assert done.returncode == 0, done.stdout[-4000:]
    return Local(copy, time.monotonic() - began)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A Slurm of two nodes; where it cannot start, the tests fail."""
    reason = cluster_cannot_start()
    if reason:
        pytest.fail(reason, pytrace=False)
    with running() as started:
        yield started


@dataclass
class Login:
    """A login node: the controller environment, a copy of the repository, a cluster.

    Attributes:
        copy: the copy, which lies on a file system that both nodes see.
        cluster: where the jobs run.
        before: the number of the cluster's last job before this login.
    """

    copy: Copy
    cluster: Cluster
    before: int = 0

    def __post_init__(self) -> None:
        self.cluster.wait_for_nodes()
        self.before = max((job.number for job in self.cluster.jobs()), default=0)

    def environment(self) -> dict[str, str]:
        """No core environment in PATH: the jobs must find it by themselves."""
        own = str(Path(sys.prefix) / "bin")
        rest = [place for place in os.environ["PATH"].split(os.pathsep) if place != own]
        slurm = self.cluster.environment
        places = [str(self.copy.root / ".venv-controller/bin"), slurm["PATH"].split(os.pathsep)[0]]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "VIRTUAL_ENV"))}
        return {**kept, **slurm, "PATH": os.pathsep.join([*places, *rest])}

    def start(self, command: str) -> "subprocess.Popen[bytes]":
        """Start a command in the background; its output is added to `snakemake.out`."""
        with (self.copy.root / "snakemake.out").open("ab") as log:
            return subprocess.Popen(
                ["bash", "-ec", f"exec {command}" if "\n" not in command else command],
                cwd=self.copy.root,
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def run(self, command: str, seconds: float = 1800) -> tuple[int, str]:
        """Run a command to its end; its status and output."""
        done = subprocess.run(
            ["bash", "-ec", command],
            cwd=self.copy.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
        return done.returncode, done.stdout

    def output(self) -> str:
        """What the commands started in the background have said."""
        return (self.copy.root / "snakemake.out").read_text()

    def jobs(self, which: str = "") -> list[SlurmJob]:
        """The Slurm jobs since this login whose rule and wildcards match an expression."""
        found = [job for job in self.cluster.jobs() if job.number > self.before]
        return [job for job in found if re.search(which, job.rule)]

    def wait_for(self, which: str, state: str, after: int = 0, seconds: float = 1200) -> SlurmJob:
        """The job of that rule and state (expressions), once one is numbered above `after`."""

        def found() -> list[SlurmJob]:
            return [
                j for j in self.jobs(which) if re.fullmatch(state, j.state) and j.number > after
            ]

        wait_until(lambda: bool(found()), seconds, self.output)
        return found()[-1]

    def log(self, job: SlurmJob) -> str:
        """What Slurm kept of a job's output."""
        logs = [*(self.copy.root / "logs/slurm").rglob(f"{job.number}.log")]
        return "".join(path.read_text() for path in logs)

    @property
    def snapshot(self) -> Path:
        """Of the long training."""
        return self.copy.root / f"work/smoke/seed0/{LONG}/snapshot.safetensors"

    def wait_for_steps(self, least: int) -> int:
        """Wait until the long training has stored so many steps; those that it has."""
        wait_until(lambda: steps_done(self.snapshot) >= least, 1200, self.output)
        done = steps_done(self.snapshot)
        assert done < STEPS, "the training ended before it could be struck"
        return done

    def resumed_at(self) -> int:
        """The step at which the latest attempt of the long training resumed; 0: not at all."""
        log = self.copy.root / f"logs/smoke/seed0/{LONG}.log"
        told = re.search(r"resumed from \S+ at step (\d+)", log.read_text())
        return int(told[1]) if told else 0


def block() -> str:
    """The README's commands for a cluster."""
    found = BLOCK.findall((ROOT / "README.md").read_text())
    assert len(found) == 1
    return str(found[0])


def command(*more: str) -> str:
    """The README's last command, with more flags."""
    last = block().strip().splitlines()[-1].split(" #")[0].strip()
    assert last.startswith("snakemake ") and TABLE in last and SMOKE in last
    return " ".join([last, *more])


def struck(local: Local, target: Path, *pipelines: str) -> Copy:
    """A copy of the finished study without those checkpoints, their evaluations and the tables."""
    copy = local.copy.copied(target)
    for pipeline in pipelines:
        shutil.rmtree(copy.checkpoint(pipeline))
        shutil.rmtree(copy.root / f"results/smoke/seed0/evaluations/{pipeline}")
    copy.forget_table()
    return copy


def study_of(copy: Copy) -> Any:
    """The study file of a copy."""
    return yaml.safe_load((copy.root / SMOKE).read_text())
