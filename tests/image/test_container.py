"""Containers of the image, run by a real engine: `make image-test`.

Every workspace is a folder of another user than root, mounted as the README says. What is made in
it must belong to that user and equal, byte for byte, what the same machine makes outside.
"""

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_fixtures import CALLER, IMAGE, Engine, give, not_of
from lab import steps_done
from workflow_fixtures import SMOKE, Finished, finished, link_archives, repository

__all__ = ["finished"]  # a fixture

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("image")]

TABLE = "results/smoke/table.csv"
RUN = ("snakemake", TABLE, "--cores", "2", "--configfile", SMOKE)
P = "results/smoke/seed0/checkpoints/P/checkpoint.json"
# seconds; to a busy machine all that runs in containers counts as one process, so it may be slow
PATIENCE = 1200
SNAPSHOT = "work/smoke/seed0/P/snapshot.safetensors"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A checkout of the caller's, its archives fetched."""
    copy = repository(tmp_path / "workspace")
    link_archives(copy)
    packages = copy.root / "assets" / "packages"
    for archive in packages.iterdir():  # linked: their owner is not to change
        content = archive.read_bytes()
        archive.unlink()
        archive.write_bytes(content)
    return give(copy.root)


def test_the_commands_of_the_readme_run(engine: Engine, workspace: Path):
    """`make image` built the image; the paper's study needs a GPU; the default one runs dry."""
    said = (workspace / "README.md").read_text()
    lines = [line.split(" #")[0] for line in said.splitlines()]
    commands = [line.strip() for line in lines if line.startswith("docker ")]
    assert len(commands) >= 2
    assert any(line.startswith("make image") for line in lines)
    for command in commands:
        words = shlex.split(command.replace("$PWD", str(workspace)))
        assert words[:2] == ["docker", "run"]
        at = words.index("compression-order")
        if "--gpus" in words:
            gpus = words.index("--gpus")
            told_by(engine.run("run", *words[2:gpus], *words[gpus + 2 : at], IMAGE))
            assert words[at + 1 :] == []
        else:
            engine.ok("run", *words[2:at], IMAGE, *words[at + 1 :], "--dry-run")


# what it says when it cannot run


def told_by(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stdout
    assert re.fullmatch(r"error: .*\n", done.stdout), done.stdout
    return done.stdout


def test_a_gpu_study_without_a_gpu_fails_before_anything_is_fetched(
    engine: Engine, workspace: Path
):
    """The default command is the paper's study; one that is not there is told apart."""
    before = sorted(workspace.rglob("*"))
    assert "torch sees no GPU" in told_by(engine.in_image(workspace))
    assert sorted(workspace.rglob("*")) == before
    (workspace / "studies/qwen2.5-3b.yaml").unlink()
    assert "studies/qwen2.5-3b.yaml does not exist" in told_by(engine.in_image(workspace))


def test_another_study_takes_the_place_of_the_default(engine: Engine, workspace: Path):
    """One that the workflow refuses at once: it has no other setting."""
    (workspace / "studies" / "empty.yaml").write_text("device: cpu\n")
    done = engine.in_image(workspace, options=("-e", "STUDY=studies/empty.yaml"))
    assert done.returncode == 1
    assert "studies/empty.yaml" in done.stdout


def test_it_says_what_to_mount(engine: Engine, tmp_path: Path):
    assert "nothing is mounted" in told_by(engine.in_image(None, "snakemake"))
    assert "nothing is mounted" in told_by(engine.in_image(None))
    (tmp_path / "letter.txt").write_text("Dear reader")
    assert "no Snakefile" in told_by(engine.in_image(give(tmp_path), "snakemake"))
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


# who it is


def test_other_commands_run_as_the_owner_of_the_folder(engine: Engine, tmp_path: Path):
    give(tmp_path)
    who = ("sh", "-c", "id -u; id -g; touch made; grep CapEff /proc/self/status")
    nobody_else = "CapEff:\t0000000000000000"
    said = engine.in_image(tmp_path, *who).stdout.splitlines()
    assert said == [*map(str, CALLER), nobody_else]
    assert not_of(tmp_path) == []
    said = engine.in_image(tmp_path, *who, options=("--user", "12345:23456")).stdout.splitlines()
    assert said == [*map(str, CALLER), nobody_else]
    assert engine.in_image(None, "id", "-u").stdout.strip() == "10001"


def test_an_empty_folder_gets_the_sources(engine: Engine, tmp_path: Path):
    give(tmp_path)
    dry = ("snakemake", "--cores", "1", "--dry-run", "results/table.csv")
    done = engine.in_image(tmp_path, *dry)
    assert done.returncode == 0, done.stdout
    assert "This was a dry-run" in done.stdout
    assert not_of(tmp_path) == []
    assert not (tmp_path / "tests").exists()


# what it computes


def test_a_job_fetches_from_inside(engine: Engine, workspace: Path):
    archive = next(workspace.glob("assets/packages/llamafactory*"))
    before = archive.read_bytes()
    archive.unlink()
    target = str(archive.relative_to(workspace))
    done = engine.in_image(workspace, "snakemake", target, "--cores", "1", "--configfile", SMOKE)
    assert done.returncode == 0, done.stdout
    assert archive.read_bytes() == before


def test_the_smoke_study_gives_the_bytes_of_this_machine(
    engine: Engine, workspace: Path, finished: Finished, capsys: pytest.CaptureFixture[str]
):
    """Without a network, once the archives are there."""
    began = time.monotonic()
    done = engine.in_image(workspace, *RUN, options=("--network", "none"))
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stdout[-4000:]
    assert (workspace / TABLE).read_bytes() == (finished.copy.root / TABLE).read_bytes()
    assert not_of(workspace) == []
    over = f"{seconds / finished.seconds - 1:+.0%}"
    with capsys.disabled():
        print(f"\nsmoke study: here {finished.seconds:.0f} s, inside {seconds:.0f} s ({over})")


@pytest.fixture(autouse=True)
def no_container_left(engine: Engine) -> Iterator[None]:
    """A test that fails leaves no container behind, on an engine that goes on."""
    yield
    engine.run("rm", "--force", *(f"{IMAGE}-{how}" for how in ("ctrl-c", "stop", "killed")))


def locks(workspace: Path) -> list[str]:
    return [p.name for p in (workspace / ".snakemake/locks").glob("*")]


def wait_until(what: str, seen: str, client: subprocess.Popen[str], out: Path) -> None:
    """Wait until a running container has printed a text."""
    deadline = time.monotonic() + PATIENCE
    while not re.search(seen, out.read_text()):
        assert client.poll() is None, f"it ended before {what}: {out.read_text()[-3000:]}"
        assert time.monotonic() < deadline, f"never {what}: {out.read_text()[-3000:]}"
        time.sleep(0.2)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """The longer P, run outside without a break: its folder and its process."""
    copy = repository(tmp_path / "outside")
    link_archives(copy)
    longer(copy.root)
    process = subprocess.Popen(
        copy.command(P, cores=1),
        cwd=copy.root,
        env=copy.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    yield copy.root, process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_it_stops_and_resumes(
    engine: Engine,
    workspace: Path,
    tmp_path: Path,
    outside: tuple[Path, subprocess.Popen[bytes]],
):
    """Ctrl-C and `docker stop` leave no lock; a killed container's training resumes."""
    longer(workspace)
    run = ("snakemake", P, "--cores", "1", "--configfile", SMOKE)
    training = r"\[P seed 0\] step [1-9]"
    for how in ("ctrl-c", "stop"):
        client = engine.start(name := f"{IMAGE}-{how}", workspace, *run)
        wait_until("it trained", training, client, tmp_path / f"{name}.out")
        assert locks(workspace)
        if how == "stop":
            engine.ok("stop", "--time=60", name)
        else:
            client.send_signal(signal.SIGINT)
        assert client.wait(timeout=PATIENCE) not in (0, 137)
        assert locks(workspace) == []
        assert not (workspace / P).exists()

    client = engine.start(name := f"{IMAGE}-killed", workspace, *run)
    wait_until("it trained", training, client, tmp_path / f"{name}.out")
    while (done := steps_done(workspace / SNAPSHOT)) == 0:
        assert client.poll() is None, (tmp_path / f"{name}.out").read_text()[-3000:]
        time.sleep(0.2)
    engine.ok("kill", name)
    assert client.wait(timeout=PATIENCE) == 137
    assert not (workspace / P).exists()
    assert locks(workspace)

    assert engine.in_image(workspace, *run, "--unlock").returncode == 0
    again = engine.in_image(workspace, *run)
    assert again.returncode == 0, again.stdout[-4000:]
    assert f"snapshot.safetensors at step {done}" in again.stdout
    unbroken, process = outside
    assert process.wait(timeout=PATIENCE) == 0
    assert (workspace / P).read_bytes() == (unbroken / P).read_bytes()
    assert not_of(workspace) == []


def longer(root: Path) -> None:
    """Make the recovery of P last about two minutes: snapshots are a minute apart."""
    study = root / SMOKE
    changed, count = re.subn(r"(recovery:\n +steps:) 8\n", r"\1 5000\n", study.read_text())
    assert count == 1
    study.write_text(changed)
