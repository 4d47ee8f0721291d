"""A copy of the repository in which Snakemake runs for real, and what a run left there.

One full smoke run is shared by all tests; each test that changes something takes a copy of its
folder, with times and `.snakemake/` kept, so that Snakemake finds in it what it left.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
from lab import ROOT

SMOKE = "studies/smoke.yaml"
TABLE = "results/table.csv"
# what a run or a tool makes beside the sources
MADE = {
    ".git",
    ".venv",
    ".venv-benchmark",
    ".venv-controller",
    ".venv-quant",
    ".venv-judge",
    ".snakemake",
    ".hypothesis",
    "assets",
    "results",
    "work",
    "logs",
}
NODES = [
    *("P", "KD", "Q"),
    *("P-KD", "P-Q", "KD-P", "KD-Q", "Q-P", "Q-KD"),
    *("P-KD-Q", "P-Q-KD", "KD-P-Q", "KD-Q-P", "Q-P-KD", "Q-KD-P"),
]
ROWS = ["base", *NODES]
# (rule, pipeline or text or token); a rule without wildcards of its own has ""
Job = tuple[str, str]
TABLES: set[Job] = {("table", ""), ("analysis", ""), ("main_table", "")}


def jobs(nodes: Iterable[str]) -> set[Job]:
    """What follows when the stages of these pipelines run: their measures, and the tables."""
    chosen = list(nodes)
    return {("compress", n) for n in chosen} | {("measure", n) for n in chosen} | TABLES


def family(token: str) -> list[str]:
    """The pipelines that end in a token, and what follows them."""
    return [n for n in NODES if token in n.split("-")]


@dataclass
class Copy:
    """A copy of the repository.

    Attributes:
        root: its folder.
        env: variables laid over this process's environment in everything that it runs.
    """

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """The jobs' `python` is the one that runs the tests."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        caches = {"XDG_CACHE_HOME": str(self.root / ".snakemake" / "cache")}
        return {**os.environ, "PATH": path, **caches, **self.env}

    def command(self, *targets: str, study: str = SMOKE, cores: int = 2) -> list[str]:
        """Snakemake on a study, one file or several with a blank between them.

        The targets come first, `--configfile` takes what follows it.
        """
        options = ("--cores", str(cores), "--configfile", *study.split())
        return [sys.executable, "-m", "snakemake", *(targets or (TABLE,)), *options]

    def snakemake(
        self, *targets: str, study: str = SMOKE, cores: int = 2, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end; stdout and stderr together."""
        command = self.command(*targets, study=study, cores=cores)
        return self._run(command, timeout)

    def python(self, script: str, *flags: object) -> subprocess.CompletedProcess[str]:
        """Run a CLI in the copy, as a user does."""
        return self._run([sys.executable, script, *map(str, flags)], 300)

    def ask(self, word: str, *flags: object) -> subprocess.CompletedProcess[str]:
        """Run `compression-order WORD` in the copy, from its own sources."""
        line = [sys.executable, "-m", "compression_order.commands", word, *map(str, flags)]
        return self._run(line, 300, PYTHONPATH=str(self.root / "src"))

    def _run(
        self, command: list[str], timeout: float, **more: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.root,
            env={**self.environment(), **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )

    def start(self, *targets: str) -> subprocess.Popen[str]:
        """Start Snakemake in a process group of its own, as a terminal does."""
        log = (self.root / "snakemake.out").open("w")
        return subprocess.Popen(
            self.command(*targets),
            cwd=self.root,
            env=self.environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # a shell's background jobs ignore SIGINT, and so would all that they start
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def planned(self, *targets: str) -> set[Job]:
        """The jobs of a dry run; the empty set only when Snakemake says that nothing is to do."""
        done = self.snakemake(*(targets or (TABLE,)), "--dry-run")
        assert done.returncode == 0, done.stdout
        found = parse_jobs(done.stdout)
        assert bool(found) != ("Nothing to be done" in done.stdout), done.stdout
        return found

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text that stands in a file."""
        before = (self.root / path).read_text()
        assert old in before
        (self.root / path).write_text(before.replace(old, new))

    def change_study(self, change: Callable[[dict[str, Any]], None], path: str = SMOKE) -> None:
        """Change the smoke study as a user would, in its file."""
        study = yaml.safe_load((self.root / SMOKE).read_text())
        change(study)
        (self.root / path).write_text(yaml.safe_dump(study, sort_keys=False))

    def files(self) -> set[str]:
        """Every file, but what Snakemake and Python keep for themselves, and the logs."""
        kept = {".snakemake", "__pycache__", "logs"}
        found = (p.relative_to(self.root) for p in self.root.rglob("*") if not p.is_dir())
        return {str(p) for p in found if not kept & set(p.parts)}

    def checkpoint(self, pipeline: str) -> Path:
        """Folder of a checkpoint of the smoke study."""
        return self.root / "results/smoke/seed0/checkpoints" / pipeline

    def forget_table(self) -> None:
        """Delete the tables, so that a run asks for every checkpoint and evaluation again."""
        for folder in ("results", "results/smoke"):
            for name in ("table.csv", "table.md", "findings.md"):
                (self.root / folder / name).unlink()

    def copied(self, target: Path) -> "Copy":
        """A copy of this copy, times kept; archives, which nothing changes, are linked."""

        def copy(source: str, to: str) -> None:
            if "/assets/packages/" in source:
                os.link(source, to)
            else:
                shutil.copy2(source, to)

        shutil.copytree(self.root, target, symlinks=True, copy_function=copy)
        return Copy(target)


def parse_jobs(output: str) -> set[Job]:
    """The (rule, wildcard) pairs that a dry run lists."""
    found = set()
    for block in re.split(r"^(?:local)?rule ", output, flags=re.MULTILINE)[1:]:
        rule = block[: block.index(":")]
        wildcards = re.search(r"^ +wildcards: (.*)$", block, re.MULTILINE)
        named = dict(pair.split("=") for pair in wildcards[1].split(", ")) if wildcards else {}
        which = [named[key] for key in ("pipeline", "text", "token", "file") if key in named]
        found.add((rule, which[0] if which else ""))
    return found


def repository(target: Path) -> Copy:
    """What somebody has who clones the working tree, times kept."""

    def ignore(folder: str, names: list[str]) -> set[str]:
        made = MADE if Path(folder) == ROOT else {"__pycache__"}
        return {name for name in names if name in made or name.endswith("_cache")}

    shutil.copytree(ROOT, target, symlinks=True, ignore=ignore)
    return Copy(target)


def link_archives(copy: Copy) -> None:
    """The archives of the smoke study, fetched once for all tests, as `make table` would."""
    study = yaml.safe_load((ROOT / SMOKE).read_text())
    for package, pin in study["packages"].items():
        archive = ROOT / "assets/packages" / pin["file"]
        flags = [f"--package={package}", *(f"--{key}={pin[key]}" for key in ("version", "sha256"))]
        fetch = [sys.executable, str(ROOT / "src/fetch.py"), "packages", *flags]
        subprocess.run([*fetch, f"--out={archive}"], check=True, capture_output=True, timeout=600)
        target = copy.root / "assets/packages" / pin["file"]
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(archive, target)
        except OSError:  # another file system
            shutil.copy2(archive, target)


RECORDER = '''
"""Tell at its end what this process imported of the package, and whether it loaded torch."""
import atexit, json, os, sys

def tell():
    ours = [m for n, m in sys.modules.items() if n.split(".")[0] == "compression_order"]
    files = [os.path.relpath(m.__file__) for m in ours if getattr(m, "__file__", None)]
    told = {"argv": sys.argv, "files": files, "torch": "torch" in sys.modules}
    with open(os.path.join(os.environ["RECORDS"], f"{os.getpid()}.json"), "w") as out:
        json.dump(told, out)

atexit.register(tell)
'''


@dataclass(frozen=True)
class Finished:
    """The shared smoke run: never changed, only copied."""

    copy: Copy
    records: Path
    output: str
    seconds: float


def finish(base: Path) -> None:
    """Run the smoke study on two cores in a copy of the repository, below `base`."""
    copy = repository(base / "repository")
    link_archives(copy)
    (base / "recorder").mkdir()
    (base / "recorder" / "sitecustomize.py").write_text(RECORDER)
    (base / "records").mkdir()
    copy.env = {"PYTHONPATH": str(base / "recorder"), "RECORDS": str(base / "records")}
    began = time.monotonic()
    done = copy.snakemake()
    assert done.returncode == 0, done.stdout[-4000:]
    (base / "output").write_text(done.stdout)
    (base / "seconds").write_text(str(time.monotonic() - began))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The shared smoke run; one for all test files and for all processes that run tests."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / "smoke"
    with FileLock(base / "smoke.lock"):
        if not (folder / "seconds").exists():
            folder.mkdir()
            finish(folder)
    said, seconds = (folder / "output").read_text(), float((folder / "seconds").read_text())
    return Finished(Copy(folder / "repository"), folder / "records", said, seconds)


@pytest.fixture
def after_run(finished: Finished, tmp_path: Path) -> Copy:
    """A copy of the repository as the smoke run left it, for one test to change."""
    return finished.copy.copied(tmp_path / "repository")


def content(copy: Copy) -> dict[str, bytes]:
    """Path -> bytes of every result that must be the same in every run."""
    root = copy.root / "results"
    paths = [p for p in root.rglob("*") if p.is_file() and "costs" not in p.parts]
    return {str(p.relative_to(root)): p.read_bytes() for p in paths}
