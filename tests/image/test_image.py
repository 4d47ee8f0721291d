"""The container image as it is built by a real engine: `make image-test`."""

import json
import re
import subprocess

import pytest
from engine_fixtures import IMAGE, Engine
from workflow_fixtures import Copy

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("image")]

LOCK = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)", re.M)


def packages_of(engine: Engine, name: str) -> str:
    """Every package of an image, of Python and of the system, one a line."""
    asked = "/opt/venv/bin/pip list --format=freeze 2>/dev/null; dpkg-query --show"
    return engine.ok("run", "--rm", "--entrypoint", "sh", name, "-c", asked)


def test_labels_name_the_version_and_the_revision(engine: Engine, source: Copy):
    told = json.loads(engine.ok("image", "inspect", IMAGE))[0]
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=source.root, capture_output=True, text=True, check=True
    )
    labels = told["Config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == head.stdout.strip()
    assert (
        f'version = "{labels["org.opencontainers.image.version"]}"'
        in (source.root / "pyproject.toml").read_text().splitlines()
    )
    assert told["Config"]["StopSignal"] == "SIGINT"
    print(f"{told['Size'] / 1e6:.0f} MB\n{engine.ok('history', IMAGE)}")


def test_it_holds_the_lock_and_nothing_of_the_build(engine: Engine, source: Copy):
    found = dict(LOCK.findall(packages_of(engine, IMAGE)))
    wanted = dict(LOCK.findall((source.root / "envs/core.lock").read_text()))
    names = {re.sub("[._-]+", "-", name.lower()): v.partition("+")[0] for name, v in found.items()}
    assert names.keys() - wanted.keys() == {"pip"}
    assert {name: names[name] for name in wanted} == wanted
    left = engine.in_image(
        None, "sh", "-c", "ls /wheels /envs /install.sh /etc/pip.conf /root/.cache"
    )
    assert left.stdout.count("No such file") + left.stdout.count("Permission denied") == 5
    settings = engine.in_image(None, "env").stdout + engine.ok("history", "--no-trunc", IMAGE)
    assert "PIP_" not in settings


def test_a_second_build_has_the_same_packages(engine: Engine, debian: str, source: Copy):
    first = packages_of(engine, IMAGE)
    again = ["build", "--no-cache", "--target=core-environment", "--tag", f"{IMAGE}-again"]
    arguments = ["--build-arg", f"BASE={debian}", "--build-arg", "TORCH=index"]
    environment = Engine(engine.client, {**engine.env, "DOCKER_BUILDKIT": "1"})
    environment.ok(*again, *arguments, source.root)
    second = packages_of(engine, f"{IMAGE}-again")
    engine.ok("image", "rm", "--force", f"{IMAGE}-again")
    # the stage that installs has what it installs with
    assert set(first.splitlines()) <= set(second.splitlines())
    python = [line for line in second.splitlines() if "==" in line]
    assert python == [line for line in first.splitlines() if "==" in line]


def test_a_changed_source_changes_the_last_layer_alone(engine: Engine, debian: str, source: Copy):
    def layers(name: str) -> list[str]:
        told = json.loads(engine.ok("image", "inspect", name))
        return told[0]["RootFS"]["Layers"]

    readme = source.root / "README.md"
    before = readme.read_text()
    readme.write_text(before + "\n")
    name = f"{IMAGE}-edited"
    engine.make_image(source.root, f"IMAGE={name}", f"BASE={debian}", "TORCH=index")
    readme.write_text(before)
    assert layers(name)[:-1] == layers(IMAGE)[:-1]
    assert layers(name)[-1] != layers(IMAGE)[-1]
    told = json.loads(engine.ok("image", "inspect", name))[0]
    engine.ok("image", "rm", "--force", name)
    assert told["Config"]["Labels"]["org.opencontainers.image.revision"].endswith("-dirty")


def test_another_environment_is_a_target(engine: Engine, debian: str, source: Copy):
    """One small package of the lock stands in for an optional environment."""
    lock = (source.root / "envs/core.cuda.lock").read_text()
    entry = re.search(r"^tabulate==.*\n(?: +.*\n)+", lock, re.M)
    assert entry
    (source.root / "envs/small.cuda.lock").write_text(entry[0])
    name = f"{IMAGE}-small"
    target = ["--target=extended", "--build-arg=ENVIRONMENT=small", f"--build-arg=BASE={debian}"]
    environment = Engine(engine.client, {**engine.env, "DOCKER_BUILDKIT": "1"})
    environment.ok("build", *target, "--build-arg=TORCH=index", "--tag", name, source.root)
    (source.root / "envs/small.cuda.lock").unlink()
    told = engine.ok("run", "--rm", name, "/opt/venv-small/bin/pip", "list", "--format=freeze")
    engine.ok("image", "rm", "--force", name)
    assert {line.partition("==")[0] for line in told.split()} == {"pip", "setuptools", "tabulate"}
