"""A real Slurm on this machine: munge, one controller, two nodes of one CPU and two stand-in GPUs.

Everything lies in one temporary folder, and only processes started here are stopped. A stand-in
GPU is a character device: Slurm hands it out and sets CUDA_VISIBLE_DEVICES, but nothing can
compute on it.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

CONTROLLER = Path(__file__).resolve().parents[2] / ".venv-controller"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
NODES = ("n1", "n2")
GPUS = 2  # a node
MEMORY = 8000  # MiB a node; Slurm trusts this figure, it does not take it from the machine

CONF = Path(__file__).with_name("slurm.conf")
NODE = """
NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 {has}
"""


@dataclass(frozen=True)
class SlurmJob:
    """One job as Slurm remembers it.

    Attributes:
        number: Slurm's.
        state: as `squeue` tells it.
        node: where it runs or ran.
        rule: the plugin's comment, `rule_<rule>_wildcards_<their values>`.
        start: when it began, as Slurm writes it, which sorts as text; likewise `end`.
        restarts: how often it was requeued.
        memory: MiB that it was given.
        gpus: that it was given.
    """

    number: int
    state: str
    node: str
    rule: str
    start: str
    end: str
    restarts: int
    memory: int
    gpus: int


@dataclass
class Cluster:
    """A running Slurm.

    Attributes:
        folder: its configuration, state and logs.
        processes: name -> process, of each daemon.
    """

    folder: Path
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What makes Slurm's commands talk to this cluster."""
        path = os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]])
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def has_steps(self, number: int) -> bool:
        """Whether a node still has processes of a job, whatever the controller believes."""
        ours = f"slurmstepd: [{number}.".encode()
        return any(ours in command for command in _commands())

    def run(self, *command: str) -> str:
        """Run one of Slurm's commands; its output."""
        done = self._call(*command)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def _call(self, *command: str) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | self.environment
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    def spawn(self, name: str, *command: str) -> None:
        """Start a daemon in the foreground, to end with this process; it writes `<name>.out`."""
        bound = ["setpriv", "--pdeathsig", "TERM", *command]
        with (self.folder / f"{name}.out").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                bound, env=os.environ | self.environment, stdout=log, stderr=log
            )

    def start(self) -> None:
        """Start everything and wait until both nodes are idle."""
        for name in ("bin", "state", *(f"spool-{node}" for node in NODES)):
            (self.folder / name).mkdir()
        self._configure()
        self._start_munge()
        self.start_controller()
        for node in NODES:
            self.spawn(f"slurmd-{node}", "slurmd", "-D", "-N", node)
        self.wait_for_nodes()

    def wait_for_nodes(self) -> None:
        """Wait until both nodes are idle; one that refused a job is drained until it is resumed."""

        def idle() -> bool:
            if any(state.startswith(("drain", "down")) for state in self._states()):
                self._call("scontrol", "update", f"nodename={','.join(NODES)}", "state=resume")
            return self._states() == {"idle"}

        wait_until(idle, 60, self._why)

    def _configure(self) -> None:
        host = socket.gethostname()
        ports = free_ports(1 + len(NODES))
        conf = CONF.read_text().format(folder=self.folder, host=host, controller_port=ports[0])
        gres = ""
        for node, port in zip(NODES, ports[1:], strict=True):
            has = f"RealMemory={MEMORY} Gres=gpu:{GPUS}"
            conf += NODE.format(name=node, host=host, port=port, has=has)
            for number in range(GPUS):
                device = self.folder / f"gpu-{node}-{number}"
                os.mknod(device, 0o600 | 0o020000, os.makedev(1, 3))  # /dev/null's numbers
                gres += f"NodeName={node} Name=gpu File={device}\n"
        (self.folder / "slurm.conf").write_text(conf)
        # the plugin takes every SLURM_ variable from the `srun` in a job, this one included: on a
        # real cluster the configuration lies where all commands look for it
        srun = self.folder / "bin" / "srun"
        config = f"SLURM_CONF={self.folder}/slurm.conf"
        srun.write_text(f'#!/bin/sh\n{config} exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)
        (self.folder / "gres.conf").write_text(gres)

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        places = [f"--{n}={self.folder}/munge.{s}" for n, s in (
            ("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"),
            ("log-file", "log"), ("seed-file", "seed"),
        )]  # fmt: skip
        self.spawn("munged", "munged", "--foreground", "--force", *places)
        wait_until((self.folder / "munge.socket").exists, 20, self._why)

    def start_controller(self) -> None:
        """Start slurmctld and wait until it answers."""
        self.spawn("slurmctld", "slurmctld", "-D")
        wait_until(lambda: self._states() != set(), 60, self._why)

    def stop(self, name: str) -> None:
        """End one daemon as an administrator does, and wait for it."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop_all(self) -> None:
        """End the jobs, then every daemon that was started here."""
        try:
            if self._states():
                self.run("scancel", "--full", "--user=root")
                wait_until(lambda: not self.active(), 60, self._why)
        finally:
            for name in reversed(list(self.processes)):
                self.stop(name)

    def _states(self) -> set[str]:
        """The states of the nodes; nothing while the controller does not answer."""
        done = self._call("sinfo", "--noheader", "--Node", "--format=%T")
        return set(done.stdout.split()) if done.returncode == 0 else set()

    def _why(self) -> str:
        """The ends of the daemons' logs."""
        logs = sorted(self.folder.glob("*.out"))
        return "\n".join(f"{log.name}:\n{log.read_text()[-1500:]}" for log in logs)

    def jobs(self) -> list[SlurmJob]:
        """Every job since the cluster started, finished ones too, by number."""
        lines = self.run("scontrol", "show", "jobs", "--oneliner").splitlines()
        found = [parse_job(line) for line in lines if line.startswith("JobId=")]
        return sorted(found, key=lambda job: job.number)

    def release_held(self, number: int) -> None:
        """Let a job start whose launch a busy node refused: Slurm holds it until someone does."""
        if "Reason=launch_failed_requeued_held" in self.run("scontrol", "show", "job", str(number)):
            self.run("scontrol", "release", str(number))

    def active(self) -> list[SlurmJob]:
        """Jobs that wait, run or end."""
        states = ("PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED")
        return [job for job in self.jobs() if job.state in states]


def parse_job(line: str) -> SlurmJob:
    """One line of `scontrol show jobs --oneliner`."""
    value = dict(re.findall(r"(\w+)=(\S*)", line))
    memory = re.search(r"\bmem=(\d+)([MG])", value["TRES"])
    gpus = re.search(r"gpu:(\d+)", value.get("TresPerJob", ""))
    return SlurmJob(
        number=int(value["JobId"]),
        state=value["JobState"],
        node=value.get("NodeList", ""),
        rule=value.get("Comment", ""),
        start=value["StartTime"],
        end=value["EndTime"],
        restarts=int(value["Restarts"]),
        memory=int(memory[1]) * {"M": 1, "G": 1024}[memory[2]] if memory else 0,
        gpus=int(gpus[1]) if gpus else 0,
    )


def _commands() -> Iterator[bytes]:
    """The command lines of the processes of this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # a process that has just ended
            yield path.read_bytes()


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    with ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_until(
    true: Callable[[], bool], seconds: float, why: Callable[[], str], pause: float = 0.2
) -> None:
    """Wait until a condition holds; fail with a reason when it does not."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"nothing in {seconds} s\n{why()}"
        time.sleep(pause)


def cannot_start() -> str | None:
    """Why Slurm cannot run here, in one sentence, or None."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        return (
            f"Slurm is not installed ({', '.join(missing)} not found); "
            "run `make slurm-test` as root, or install the packages slurm-wlm and munge"
        )
    if os.geteuid() != 0:
        return "Slurm's daemons and the stand-in GPUs need root; run `make slurm-test` as root"
    if not (CONTROLLER / "bin" / "snakemake").exists():
        return "there is no controller environment; run `make controller`"
    return None


@contextmanager
def running() -> Iterator[Cluster]:
    """A cluster for the time of a block."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)  # munge's socket must be within reach of every user
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop_all()
        shutil.rmtree(folder)


def main() -> None:
    """Start a cluster and stop it: whether a Slurm can run here, for who asks before testing."""
    reason = cannot_start()
    if reason:
        sys.exit(f"error: {reason}")
    with running():
        print("Slurm starts here")


if __name__ == "__main__":
    main()
