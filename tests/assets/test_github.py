"""Files of a GitHub repository at a commit, from a server here that answers as GitHub."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import lawbench_fixtures
import pytest
import yaml
from lab import ROOT, cli

import fetch_github
from compression_order.study import study, parse
from compression_order.common.errors import HarnessError

NAME, REVISION = "open-compass/LawBench", "0123456789" * 4
PATTERN = "data/zero_shot/*.json"


class Hub:
    """A repository: its files, and what the next answers are."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.damaged, self.status = files, "", 200
        self.asked: list[tuple[str, str | None]] = []


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    lawbench_fixtures.lawbench(tmp_path / "repository")
    (tmp_path / "repository/data/zero_shot/readme.md").write_text("text")
    root = tmp_path / "repository"
    its = Hub({str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*.*")})

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            its.asked.append((self.path, self.headers.get("Authorization")))
            folder = f"/repos/{NAME}/contents/"
            if its.status != 200:
                self.send_error(its.status)
            elif path.startswith(folder):
                self.reply(json.dumps(self.listing(path.removeprefix(folder))).encode())
            elif (name := path.removeprefix(f"/raw/{REVISION}/")) in its.files:
                self.reply(its.files[name] + (b"x" if name == its.damaged else b""))
            else:
                self.send_error(404)

        def listing(self, folder: str) -> Any:
            found = [
                {
                    "path": name,
                    "type": "file",
                    "sha": fetch_github.blob(content),
                    "download_url": f"{base}/raw/{REVISION}/{name}",
                }
                for name, content in its.files.items()
                if name.rpartition("/")[0] == folder
            ]
            return [*found, {"path": f"{folder}/more.json", "type": "dir"}]

        def reply(self, content: bytes) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    base = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("GITHUB_API_URL", base)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("GITHUB_MIRROR", raising=False)
    yield its
    server.shutdown()
    server.server_close()


def fetch(out: Path, *patterns: str, revision: str = REVISION) -> Any:
    flags = [f"--files={pattern}" for pattern in patterns or (PATTERN,)]
    return cli(
        "fetch_github", f"--repository={NAME}", f"--revision={revision}", *flags, "--out", out
    )


def test_files_are_fetched_whole_with_their_record(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    out = tmp_path / "out"
    done = fetch(out)
    assert done.returncode == 0, done.stderr
    assert "20 files of open-compass/LawBench@0123456" in done.stdout
    record = json.loads((out / "asset.json").read_text())
    assert record["source"] == {"github": NAME, "revision": REVISION}
    assert (
        set(record["files"])
        == set(record["blobs"])
        == set(hub.files) - {"data/zero_shot/readme.md"}
    )
    for name in record["files"]:
        assert (out / name).read_bytes() == hub.files[name]
    assert hub.asked[0] == (
        f"/repos/{NAME}/contents/data/zero_shot?ref={REVISION}", "Bearer secret",
    )  # fmt: skip
    assert {secret for _, secret in hub.asked[1:]} == {None}  # files are not asked with the token


def test_a_copy_serves_a_machine_without_a_network(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = tmp_path / "github"
    assert fetch(mirror / NAME / REVISION).returncode == 0
    monkeypatch.setenv("GITHUB_MIRROR", str(mirror))
    hub.status = 500  # is not asked
    assert fetch(tmp_path / "out", "data/zero_shot/1-*.json").returncode == 0
    names = sorted(p.name for p in (tmp_path / "out").rglob("*.json"))
    assert names == ["1-1.json", "1-2.json", "asset.json"]
    for pattern, says in (("data/*.json", "matches nothing"), ("*.md", "matches nothing")):
        done = fetch(tmp_path / "none", pattern)
        assert done.returncode == 1
        assert says in done.stderr
    changed = mirror / NAME / REVISION / "data/zero_shot/1-1.json"
    changed.write_text("[]")
    done = fetch(tmp_path / "none")
    assert "1-1.json is not the file that was prepared" in done.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("change", "flags", "says"),
    [
        ({}, {"revision": "main"}, "'main' is no commit of 40 hexadecimal digits"),
        ({}, {"patterns": ["data/zero_shot/9-*"]}, "'data/zero_shot/9-*' matches nothing"),
        ({"damaged": "data/zero_shot/2-1.json"}, {}, "came with the blob id"),
        ({"status": 404}, {}, "404 Not Found); correct the repository, the revision or the files"),
        ({"status": 403}, {}, "403 Forbidden); wait an hour, or set GITHUB_TOKEN"),
        ({"status": 503}, {}, "run again later"),
    ],
)  # fmt: skip
def test_what_cannot_be_fetched_is_one_sentence_and_leaves_nothing(
    change: dict[str, Any], flags: dict[str, Any], says: str, hub: Hub, tmp_path: Path
) -> None:
    vars(hub).update(change)
    patterns, revision = flags.get("patterns", [PATTERN]), flags.get("revision", REVISION)
    done = fetch(tmp_path / "out", *patterns, revision=revision)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert not (tmp_path / "out").exists()


def test_without_a_network_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    done = fetch(tmp_path / "out")
    assert done.returncode == 1
    assert "no network" in done.stderr
    assert "GITHUB_MIRROR" in done.stderr


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
        ({"files": []}, f"datasets.{NAME}.files"),
    ],
)
def test_a_pin_that_says_too_little_is_told(entry: dict[str, Any], says: str) -> None:
    with pytest.raises(HarnessError) as fault:
        build(config(**entry))
    assert says in str(fault.value)
    assert "\n" not in str(fault.value)
