"""Files of a GitHub repository at a commit, by git from a server here: bare repositories."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import lawbench_fixtures
import pytest
import yaml
from lab import ROOT, cli, inside

from compression_order.assets import github
from compression_order.common.errors import HarnessError
from compression_order.study import parse, study

NAME, REVISION = "open-compass/LawBench", "0123456789" * 4
PATTERN = "data/zero_shot/*.json"
WRITER = ["-c", "user.name=test", "-c", "user.email=test@localhost"]


def git(folder: Path, *words: str, told: str = "") -> str:
    command = ["git", "-C", str(folder), *WRITER, *words]
    return subprocess.run(command, input=told, capture_output=True, text=True, check=True).stdout


class Hub:
    """A server's repository, and the commit that a study pins: not the newest."""

    def __init__(self, folder: Path) -> None:
        work = folder / "repository"
        lawbench_fixtures.lawbench(work)
        (work / "data/zero_shot/readme.md").write_text("text")
        (work / "data/zero_shot/more").mkdir()
        (work / "data/zero_shot/more/1-1.json").write_text("[]")
        (work / "data/zero_shot/link.json").symlink_to("1-1.json")
        (work / ".gitattributes").write_text("*.json text eol=crlf\n")  # must not change a byte
        git(work, "init", "--quiet")
        git(work, "add", ".")
        git(work, "commit", "--quiet", "--message=pinned")
        self.revision = git(work, "rev-parse", "HEAD").strip()
        (work / "data/zero_shot/1-1.json").write_text("[]")
        git(work, "commit", "--quiet", "--all", "--message=newer")
        self.server, self.folder = folder / "server", folder / "server" / NAME
        git(work, "clone", "--quiet", "--mirror", ".", str(self.folder))
        git(self.folder, "config", "uploadpack.allowFilter", "true")

    def content(self, path: str) -> bytes:
        """The bytes of a file at the pinned commit."""
        shown = ["git", "-C", str(self.folder), "show", f"{self.revision}:{path}"]
        return subprocess.run(shown, capture_output=True, check=True).stdout


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    its = Hub(tmp_path)
    monkeypatch.setenv("GITHUB_URL", its.server.as_uri())
    return its


def fetch(out: Path, revision: str, *patterns: str, repository: str = NAME) -> None:
    flags = [f"--files={pattern}" for pattern in patterns or (PATTERN,)]
    named = [f"--repository={repository}", f"--revision={revision}"]
    inside("fetch", "github", *named, *flags, "--out", out)


def told(out: Path, revision: str, *patterns: str, repository: str = NAME) -> str:
    """The one sentence of a fetch that fails and leaves nothing."""
    with pytest.raises(HarnessError) as fault:
        fetch(out, revision, *patterns, repository=repository)
    assert "\n" not in str(fault.value)
    assert not out.exists()
    assert not list(out.parent.glob(".git-*"))
    return str(fault.value)


def test_files_are_fetched_whole_with_their_record(hub: Hub, tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = [f"--repository={NAME}", f"--revision={hub.revision}", f"--files={PATTERN}"]
    done = cli("fetch", "github", *flags, "--out", out)
    assert done.returncode == 0, done.stderr
    assert f"20 files of open-compass/LawBench@{hub.revision[:7]}" in done.stdout
    record = json.loads((out / "asset.json").read_text())
    assert record["source"] == {"github": NAME, "revision": hub.revision}
    expected = {f"data/zero_shot/{number}.json" for number in lawbench_fixtures.RECORDS}
    assert set(record["files"]) == set(record["blobs"]) == expected
    for name in expected:
        assert (out / name).read_bytes() == hub.content(name)
        its = git(hub.folder, "rev-parse", f"{hub.revision}:{name}").strip()
        assert record["blobs"][name] == git(tmp_path, "hash-object", str(out / name)).strip() == its
    there = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert there == expected | {"asset.json"}  # no repository of git, nothing beside them


def test_a_copy_serves_a_machine_without_a_network(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = tmp_path / "copies"
    git(tmp_path, "clone", "--quiet", "--mirror", str(hub.folder), f"{copies / NAME}.git")
    shutil.rmtree(hub.server)  # is not asked
    monkeypatch.setenv("GITHUB_URL", copies.as_uri())
    fetch(tmp_path / "out", hub.revision, "data/zero_shot/1-*.json")
    names = sorted(p.name for p in (tmp_path / "out").rglob("*.json"))
    assert names == ["1-1.json", "1-2.json", "asset.json"]
    # the same by git's own settings, with the address of GitHub
    monkeypatch.delenv("GITHUB_URL")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{copies.as_uri()}/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", f"{github.URL}/")
    fetch(tmp_path / "again", hub.revision, "data/zero_shot/1-*.json")
    record = (tmp_path / "out/asset.json").read_bytes()
    assert (tmp_path / "again/asset.json").read_bytes() == record
    for pattern in ("data/*.json", "*.md"):
        assert "matches nothing" in told(tmp_path / "none", hub.revision, pattern)


def damage(hub: Hub, path: str) -> None:
    """Give a file of the server other bytes under the same blob id."""
    its = git(hub.folder, "rev-parse", f"{hub.revision}:{path}").strip()
    other = git(hub.folder, "hash-object", "-w", "--stdin", told="[]").strip()
    objects = hub.folder / "objects"
    target = objects / its[:2] / its[2:]
    target.unlink()
    shutil.copy(objects / other[:2] / other[2:], target)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"revision": "main"}, "'main' is no commit of 40 hexadecimal digits"),
        ({"pattern": "data/zero_shot/9-*"}, "'data/zero_shot/9-*' matches nothing"),
        ({"pattern": "data/zero_shot/link.json"}, "link.json' matches nothing"),
        ({"damaged": "data/zero_shot/2-1.json"}, "git cannot fetch open-compass/LawBench@"),
        ({"revision": REVISION}, "not our ref 0123456789"),
        ({"repository": "open-compass/None"}, "None' does not appear to be a git repository"),
    ],
)
def test_what_cannot_be_fetched_is_one_sentence_and_leaves_nothing(
    change: dict[str, str], says: str, hub: Hub, tmp_path: Path
) -> None:
    if "damaged" in change:
        damage(hub, change["damaged"])
    revision, pattern = change.get("revision", hub.revision), change.get("pattern", PATTERN)
    repository = change.get("repository", NAME)
    said = told(tmp_path / "out", revision, pattern, repository=repository)
    assert says in said


def test_without_a_network_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    said = told(tmp_path / "out", REVISION)
    assert "git cannot fetch open-compass/LawBench@0123456 (fatal: unable to access" in said
    assert "connect this machine" in said


def test_a_machine_without_git_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "install git" in told(tmp_path / "out", REVISION)


# --- in a study file --------------------------------------------------------------------------


def config(**entry: Any) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "studies/smoke.yaml").read_text())
    read["evaluations"] |= {"hub_tasks": {"lawbench": 5, "lawbench_2_1": 0}}
    read["datasets"] = {NAME: {"host": "github", "revision": REVISION, **entry}}
    return read


def build(read: dict[str, Any]) -> study.Study:
    return parse.build(read, "s.yaml", ROOT)


def test_a_study_names_the_files_of_a_repository() -> None:
    built = build(config(files=[PATTERN]))
    folder = f"assets/github/{NAME}/{REVISION}"
    assert f"--dataset={NAME}={folder}" in built.measure_flags()
    assert "--task-folder=tasks/lawbench" in built.measure_flags()
    assert built.hub_flags(folder) == [f"--files={PATTERN}"]  # no README.md
    read = built.measured_files()
    assert f"{folder}/asset.json" in read
    own = {f"tasks/lawbench/{p.name}" for p in (ROOT / "tasks/lawbench").iterdir()}
    assert len(own) == 22
    assert own <= set(read)
    assert built.scoring_modules() == ["compression_order.evaluation.lawbench.tasks"]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({}, f"datasets.{NAME}: a repository on GitHub needs `files`"),
        ({"files": [PATTERN], "host": "gitlab"}, "gitlab"),
        ({"files": []}, f"datasets.{NAME}: a repository on GitHub needs `files`"),
    ],
)
def test_a_pin_that_says_too_little_is_told(entry: dict[str, Any], says: str) -> None:
    with pytest.raises(HarnessError) as fault:
        build(config(**entry))
    assert says in str(fault.value)
    assert "\n" not in str(fault.value)
