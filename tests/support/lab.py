"""A laboratory for tests of stages: a tiny model on synthetic text, nothing fetched."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

# Before the libraries, as in a CLI: they read the variables that it sets when they are imported,
# and what transformers stores depends on them.
import compression_order  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]

SEQ_LEN = 160  # tokens: some conversations are cut, most are whole
SCRIPTS = {"P": "prune", "KD": "distill", "Q": "quantize"}
THINGS = ("stone", "garden", "letter", "market", "silver", "train", "candle", "harbor", "orange")


def sentence(rng: random.Random) -> str:
    """A few words in an order that a tiny model can learn a little of."""
    one, two, three = rng.choices(THINGS, k=3)
    return f"The {one} stands near the {two}, and {rng.randint(2, 90)} people like its {three}."


def conversation(number: int, rng: random.Random) -> dict[str, Any]:
    """A question and an answer; every fourth conversation has a second turn."""
    turns = [
        {"role": "user", "content": f"Tell me story {number} about a {rng.choice(THINGS)}."},
        {"role": "assistant", "content": " ".join(sentence(rng) for _ in range(rng.randint(1, 3)))},
    ]
    if number % 4 == 0:
        turns.append({"role": "user", "content": "And then?"})
        turns.append({"role": "assistant", "content": sentence(rng)})
    return {"messages": turns}


def write_lines(path: Path, records: Sequence[Any]) -> None:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def cli(script: str, *flags: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a CLI as a user does, from the repository root."""
    command = [sys.executable, str(ROOT / "src" / f"{script}.py"), *map(str, flags)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout
    )


def in_quant(commands: Sequence[Sequence[str]]) -> list[str | None]:
    """Run stages in one process of the environment `quant`, which the tests do not make.

    Args:
        commands: of each, the script and its flags.

    Returns:
        Of each, None or the sentence of its error.
    """
    named = os.environ.get("PYTHON_QUANT", ".venv-quant/bin/python")
    python = shutil.which(ROOT / named if "/" in named else named)
    if not python:
        pytest.fail(f"{named} does not exist; run `make quant-env`", pytrace=False)
    done = subprocess.run(
        [python, "tests/support/quant_runner.py"],
        cwd=ROOT,
        input=json.dumps(commands),
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=1800,
    )
    assert done.returncode == 0
    outcomes: list[str | None] = json.loads(done.stdout)
    return outcomes


def inside(script: str, *flags: object) -> None:
    """Run a CLI in this process, which has loaded torch already; faults are raised.

    What it computes in is set for its process; here that ends with the command.
    """
    module = __import__(script)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(module.__file__), *map(str, flags)])
        copy_context().run(module.main)


def training_flags(prefix: str, **changes: object) -> list[str]:
    """Flags of a short training that fits the tiny model."""
    values: dict[str, object] = {
        "steps": 3,
        "batch_size": 4,
        "seq_len": SEQ_LEN,
        "learning_rate": 1e-3,
        "warmup_steps": 1,
    }
    values |= changes
    return [f"--{prefix}.{key.replace('_', '-')}={value}" for key, value in values.items()]


@dataclass(frozen=True)
class Lab:
    """Paths of what every test shares; nothing in them may be changed.

    Attributes:
        folder: where all of it lies.
        chats: the chat text.
        splits: its disjoint parts.
        plain: a plain text, {"text"} a line.
        model: the prepared model.
        base: its checkpoint, dense.
        quantized: the same in NF4 with double quantization.
        teacher: the teacher's cache: `SEQ_LEN` tokens, prompt masked, exact.
        reference: the base on the held-out conversations.
    """

    folder: Path

    @property
    def chats(self) -> Path:
        return self.folder / "chats.jsonl"

    @property
    def splits(self) -> Path:
        return self.folder / "splits.json"

    @property
    def plain(self) -> Path:
        return self.folder / "plain.jsonl"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def base(self) -> Path:
        return self.folder / "checkpoints" / "base"

    @property
    def quantized(self) -> Path:
        return self.folder / "checkpoints" / "Q"

    @property
    def teacher(self) -> Path:
        return self.folder / "teacher.safetensors"

    @property
    def reference(self) -> Path:
        return self.folder / "reference.safetensors"

    def read(self) -> list[object]:
        """The flags that name the text."""
        return ["--text", self.chats, "--splits", self.splits]

    def flags(self, parent: Path, out: Path, *more: object) -> list[object]:
        """The flags of a stage whose pipeline is the name of the folder `out`."""
        token = out.name.rsplit("-", 1)[-1]
        its: dict[str, list[object]] = {
            "P": ["--ratio=0.25", f"--seq-len={SEQ_LEN}"],
            "KD": ["--teacher-outputs", self.teacher, *training_flags("training")],
            "Q": [],
        }
        common = ["--parent", parent, "--out", out, "--pipeline", out.name, *self.read()]
        aside = out.parent.with_name(f"{out.parent.name}.work") / out.name
        work = ["--work", aside, "--costs", aside / "costs", "--max-degenerate=1.0"]
        return [*common, *work, *its[token], *more]

    def stage(self, parent: Path, out: Path, *more: object) -> dict[str, Any]:
        """Run the stage that the name of `out` ends in, in this process; its manifest."""
        inside(SCRIPTS[out.name.rsplit("-", 1)[-1]], *self.flags(parent, out, *more))
        manifest: dict[str, Any] = json.loads((out / "checkpoint.json").read_text())
        return manifest

    @classmethod
    def build(cls, folder: Path) -> "Lab":
        """Write the text, train the model, make what most tests start from."""
        lab, rng = cls(folder), random.Random(0)
        write_lines(lab.chats, [conversation(i, rng) for i in range(80)])
        plain = [{"text": " ".join(sentence(rng) for _ in range(12))} for _ in range(8)]
        write_lines(lab.plain, plain)
        parts = ["--train=56", "--calibration=8", "--held-out=6"]
        inside("split_text", "--text", lab.chats, *parts, "--out", lab.splits)
        inside("make_model", *lab.read(), "--steps=60", "--out", lab.model)
        costs = ["--costs", folder / "costs"]
        inside("base", "--model", lab.model, "--out", lab.base, *costs)
        read = [*lab.read(), *costs]
        cut = f"--seq-len={SEQ_LEN}"
        inside("teach", "--student", lab.base, *read, cut, "--out", lab.teacher)
        inside("reference", "--model", lab.base, *read, "--out", lab.reference)
        lab.stage(lab.base, lab.quantized)
        return lab


def fetched(*wanted: str) -> None:
    """Have the workflow fetch and make assets of this checkout, where they are missing."""
    (ROOT / "work").mkdir(exist_ok=True)
    with FileLock(ROOT / "work/tests.lock"):  # another run of tests may want them too
        if not all((ROOT / path).exists() for path in wanted):
            command = [sys.executable, "-m", "snakemake", "--cores", "1", *wanted]
            subprocess.run(command, cwd=ROOT, check=True)


def steps_done(snapshot: Path) -> int:
    """Steps in a snapshot; 0 where there is none."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(snapshot, "pt") as stored:
            return len(json.loads(stored.metadata()["history"]))
    except (FileNotFoundError, SafetensorError):
        return 0
