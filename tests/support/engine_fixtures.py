"""A Docker engine for the tests of the image: the one that answers, else one started here.

Whoever asks for the fixture `engine` gets an engine or a failed test, never a skipped one. Missing
programs are installed where this is root on Debian or Ubuntu; an engine that was started here is
stopped, by its own process, when the tests end, and its data are deleted.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
from workflow_fixtures import ROOT, Copy, repository

BASE = "compression-order-test-base"
IMAGE = "compression-order-test"
SUITE = "bookworm"  # Debian 12: Python 3.11
CALLER = (12345, 23456)  # uid and gid of nobody here
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Engine:
    """A client, and the environment in which it finds its engine."""

    client: str
    env: Mapping[str, str]

    def run(self, *words: object, timeout: float = 3600) -> subprocess.CompletedProcess[str]:
        """A docker command to its end; stdout and stderr together."""
        return subprocess.run(
            [self.client, *map(str, words)],
            env={**os.environ, **self.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )

    def ok(self, *words: object, timeout: float = 3600) -> str:
        """The output of a docker command that must succeed."""
        done = self.run(*words, timeout=timeout)
        assert done.returncode == 0, f"docker {' '.join(map(str, words))}\n{done.stdout[-6000:]}"
        return done.stdout

    def in_image(
        self, folder: Path | None, *words: object, options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """A command in a new container, with a folder mounted as the README says."""
        return self.run("run", "--rm", *mount(folder), *options, IMAGE, *words)

    def start(self, name: str, folder: Path, *words: str) -> subprocess.Popen[str]:
        """A container with its client in the foreground, as in a terminal."""
        return subprocess.Popen(
            [self.client, "run", "--rm", "--name", name, *mount(folder), IMAGE, *words],
            env={**os.environ, **self.env},
            stdout=(folder.parent / f"{name}.out").open("w"),
            stderr=subprocess.STDOUT,
            text=True,
            # a shell's background jobs ignore SIGINT, and so would all that they start
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def make_image(self, folder: Path, *settings: str) -> str:
        """`make image` in a checkout; its output."""
        done = subprocess.run(
            ["make", "image", f"DOCKER={self.client}", *settings],
            cwd=folder,
            env={**os.environ, **self.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3600,
        )
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout


def mount(folder: Path | None) -> list[str]:
    """The option that mounts a folder as the workspace."""
    return ["-v", f"{folder}:/workspace"] if folder else []


def give(folder: Path, owner: tuple[int, int] = CALLER) -> Path:
    """Hand a folder to another user, who can reach it."""
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, *owner, follow_symlinks=False)
    for parent in folder.parents:
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 1:
            parent.chmod(parent.stat().st_mode | 0o111)
    return folder


def not_of(folder: Path, owner: tuple[int, int] = CALLER) -> list[Path]:
    """What does not belong to that user."""
    every = [folder, *folder.rglob("*")]
    return [p for p in every if (p.lstat().st_uid, p.lstat().st_gid) != owner]


def need(program: str, package: str) -> None:
    """Install a program that is missing; where that cannot be done, the test fails."""
    if shutil.which(program):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.fail(f"{program} is missing; install the package {package} (as root, with apt-get)")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "--yes", "--no-install-recommends", package]):
        done = subprocess.run(["apt-get", *words], env=env, capture_output=True, text=True)
        if done.returncode:
            pytest.fail(f"apt-get {' '.join(words)}: {done.stderr[-2000:]}")


def a_client() -> str | None:
    """A docker client that can use BuildKit: newer ones need the plugin buildx for it."""
    named = os.environ.get("DOCKER")
    for client in [named] if named else [shutil.which("docker"), "/usr/bin/docker"]:
        if not client or not shutil.which(client):
            continue
        told = subprocess.run([client, "--version"], capture_output=True, text=True).stdout
        major = told.removeprefix("Docker version ").partition(".")[0]
        buildx = subprocess.run([client, "buildx", "version"], capture_output=True)
        if buildx.returncode == 0 or (major.isdigit() and int(major) < 23):
            return client
    return None


def answers(client: str, env: Mapping[str, str]) -> bool:
    """Whether an engine answers this client."""
    asked = [client, "version", "--format", "{{.Server.Version}}"]
    return subprocess.run(asked, env={**os.environ, **env}, capture_output=True).returncode == 0


def start_daemon(folder: Path, client: str) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """Start dockerd as root with everything it keeps in `folder`; fails with its last words."""
    env = {"DOCKER_HOST": f"unix://{folder}/docker.sock"}
    options = ["--storage-driver=overlay2", f"--host={env['DOCKER_HOST']}"]
    places = {"data-root": "data", "exec-root": "exec", "pidfile": "dockerd.pid"}
    options += [f"--{option}={folder / name}" for option, name in places.items()]
    log = folder / "dockerd.log"
    with log.open("w") as out:
        # a session of its own: Ctrl-C on the tests must not stop it before the containers
        daemon = subprocess.Popen(
            ["dockerd", *options], stdout=out, stderr=out, start_new_session=True
        )
    deadline = time.monotonic() + 60
    while not answers(client, env):
        if daemon.poll() is not None or time.monotonic() > deadline:
            daemon.terminate()
            daemon.wait(timeout=60)
            pytest.fail(f"dockerd does not start here: {log.read_text()[-2000:]}")
        time.sleep(0.5)
    return daemon, env


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine that answers, else one that is started and stopped here."""
    client = a_client()
    if client and answers(client, {}):
        running = Engine(client, {})
        yield running
        running.run("image", "rm", "--force", IMAGE, BASE)
        return
    if os.geteuid() != 0:
        pytest.fail("no Docker engine answers, and only root can start one: start it, or be root")
    need("dockerd", "docker.io")
    client = a_client()
    if not client:
        pytest.fail("no docker client with BuildKit; install its plugin buildx, or set DOCKER")
    folder = tmp_path_factory.mktemp("engine")
    daemon, env = start_daemon(folder, client)
    yield Engine(client, env)
    daemon.send_signal(signal.SIGTERM)
    daemon.wait(timeout=120)
    subprocess.run(["rm", "-rf", folder], check=True)  # 190,000 files: faster than rmtree


@pytest.fixture(scope="session")
def debian(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Debian made here, with this machine's CA certificates, as an image; or BASE, if set."""
    if named := os.environ.get("BASE"):
        return named
    need("debootstrap", "debootstrap")
    if os.geteuid() != 0:
        pytest.fail("debootstrap, which makes the base image, needs root")
    root = tmp_path_factory.mktemp("debootstrap") / "root"
    include = "--include=python3,ca-certificates"
    command = ["debootstrap", "--variant=minbase", include, SUITE, str(root)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    shutil.rmtree(root / "var/cache/apt")
    shutil.rmtree(root / "var/lib/apt/lists")
    shutil.copy(Path("/") / CERTIFICATES, root / CERTIFICATES)
    packed = root.with_name("root.tar")
    subprocess.run(["tar", "--create", "--file", packed, "--directory", root, "."], check=True)
    engine.ok("import", packed, BASE)
    shutil.rmtree(root)
    packed.unlink()
    return BASE


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A checkout to build from, with the build of torch that runs these tests as a wheel."""
    copy = repository(tmp_path_factory.mktemp("source") / "repository")
    torch = f"torch=={version('torch')}"
    wheels = copy.root / "docker" / "wheels"
    target = ["--python-version", "3.11", "--only-binary", ":all:", "--dest", str(wheels)]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", *target, torch]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "the tree under test"]):
        who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        subprocess.run(["git", *who, *words], cwd=copy.root, check=True)
    return copy


@pytest.fixture(scope="session")
def image(engine: Engine, debian: str, source: Copy) -> str:
    """The image of the tree under test, on that base; its name."""
    began = time.monotonic()
    engine.make_image(source.root, f"IMAGE={IMAGE}", f"BASE={debian}", "TORCH=index")
    print(f"built in {time.monotonic() - began:.0f} s from {ROOT.name}")
    return IMAGE
