"""Runs that break off, and checkpoints that are damaged: nothing half-written, a clear sentence.

Each test starts from a copy of the shared smoke run.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from fault_fixtures import interrupt, on_full_disk, the_error, wait_for_job
from workflow_fixtures import Copy, after_run, content, finished, jobs

__all__ = ["after_run", "finished"]  # fixtures

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


# interrupted runs


def test_a_killed_training_leaves_nothing_and_the_next_run_finishes(after_run: Copy):
    """Both a job killed by the kernel and Ctrl-C; the steps of a resumed training: test_resume."""
    before = content(after_run)
    node = after_run.checkpoint("P-Q-KD")
    shutil.rmtree(node)
    after_run.forget_table()
    assert after_run.planned() == jobs(["P-Q-KD"])

    process = after_run.start()
    os.kill(wait_for_job(after_run.root, "src/distill.py", "libtorch_cpu"), signal.SIGKILL)
    assert process.wait(timeout=60) == 1
    assert "Error in rule compress" in (after_run.root / "snakemake.out").read_text()
    assert not (node / "checkpoint.json").exists()
    assert not (node / "model.safetensors").exists()

    process = after_run.start()
    wait_for_job(after_run.root, "src/distill.py", "libtorch_cpu")
    assert interrupt(process) != 0
    assert not (node / "checkpoint.json").exists()
    locks = after_run.root / ".snakemake" / "locks"
    assert not locks.exists() or not list(locks.iterdir())
    assert after_run.planned() == jobs(["P-Q-KD"])

    done = after_run.snakemake(cores=1)  # the shared run had two
    assert done.returncode == 0, done.stdout[-4000:]
    assert content(after_run) == before
    assert after_run.planned() == set()
    aside = [p for p in after_run.checkpoint("base").parent.iterdir() if p.name.startswith(".")]
    assert aside == []


# damaged checkpoints


def truncate(folder: Path):
    weights = folder / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)


def flip_a_bit_of_the_weights(folder: Path):
    weights = folder / "model.safetensors"
    stored = bytearray(weights.read_bytes())
    stored[-1] ^= 1
    weights.write_bytes(stored)


def take_another_models_manifest(folder: Path):
    shutil.copy(folder.parent / "KD" / "checkpoint.json", folder / "checkpoint.json")


def lose_the_tokenizer(folder: Path):
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, ["model.safetensors", "sha256 differs", "truncated", " bytes"]),
        (flip_a_bit_of_the_weights, ["model.safetensors", "sha256 differs"]),
        (take_another_models_manifest, ["is not the file that checkpoint.json describes"]),
        (lose_the_tokenizer, ["tokenizer.json is missing", "checkpoint.json lists it"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_damaged_parent_stops_its_child(after_run: Copy, damage, words):
    parent, child = after_run.checkpoint("P"), after_run.checkpoint("P-Q")
    damage(parent)
    shutil.rmtree(child)
    before = after_run.files()
    done = after_run.snakemake(str((child / "checkpoint.json").relative_to(after_run.root)))
    assert done.returncode == 1
    sentence = the_error(done.stdout)
    for word in (*words, "results/smoke/seed0/checkpoints/P", "delete the folder", "run again"):
        assert word in sentence, sentence
    assert after_run.files() == before


def test_a_missing_file_of_the_model_stops_the_base(after_run: Copy):
    (after_run.root / "assets/models/tiny/tokenizer.json").unlink()
    shutil.rmtree(after_run.checkpoint("base"))
    before = after_run.files()
    target = str((after_run.checkpoint("base") / "checkpoint.json").relative_to(after_run.root))
    done = after_run.snakemake(target)
    assert done.returncode == 1
    sentence = the_error(done.stdout)
    for word in ("assets/models/tiny/tokenizer.json", "missing", "delete the folder"):
        assert word in sentence
    assert after_run.files() == before


def test_a_stage_on_a_full_disk_leaves_nothing(after_run: Copy):
    disk = after_run.root / "full"
    disk.mkdir()
    command = [
        *(sys.executable, "src/quantize.py", "--pipeline=P-Q", "--max-degenerate=1"),
        f"--parent={after_run.checkpoint('P')}",
        f"--text={after_run.root / 'assets/text/alpaca.jsonl'}",
        f"--splits={after_run.root / 'results/smoke/splits.json'}",
        f"--work={after_run.root / 'work'}",
        f"--costs={after_run.root / 'work/costs'}",
        f"--out={disk / 'P-Q'}",
    ]
    status, output, left = on_full_disk("100k", disk, *command)
    assert status == 1
    assert "no space left on the disk" in the_error(output)
    assert left == []
