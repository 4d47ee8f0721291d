"""What was measured on one checkpoint, read from its JSON files and checked before use."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from compression_order import orderings
from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.statistics.paired import Array

PROTOCOLS = ("windows", "documents")
AGREE = 1e-4  # relative: a stored score must be the mean of its own stored parts


@dataclass(frozen=True)
class Perplexity:
    """Losses (mean nats per token) and weights of the units of one text."""

    protocol: str
    sample: str
    losses: Array
    weights: Array
    value: float
    tokens: float  # that were scored


@dataclass(frozen=True)
class Task:
    """One question set: what is right (0 or 1, or a score) and the index chosen, per question.

    `answers` are the texts, where they are generated: the index is then that of a text among
    the distinct ones.
    """

    sample: str
    correct: Array
    choice: Array
    chance: float
    answers: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float:
        """Share of right answers, or the mean score."""
        return float(np.mean(self.correct))

    @property
    def graded(self) -> bool:
        """Whether an answer can be right in part: such a set has no level of guessing."""
        return not np.isin(self.correct, (0, 1)).all()


@dataclass(frozen=True)
class Fidelity:
    """Distance to base on one text.

    Attributes:
        sample: hash of the scored token ids.
        kl: mean KL(base || row), nats a token.
        kl_p99: its 99th percentile over tokens.
        top1: share of tokens with the same likeliest next token.
    """

    sample: str
    kl: float
    kl_p99: float
    top1: float


@dataclass(frozen=True)
class Judged:
    """One judged metric: hash of prompts and judge, and the score of each answer, 0..1."""

    sample: str
    scores: Array

    @property
    def value(self) -> float:
        """The mean score."""
        return float(np.mean(self.scores))


@dataclass(frozen=True)
class Record:
    """One pipeline at one seed; `checkpoint` is empty for base, which no stage wrote."""

    pipeline: str
    seed: int
    bytes: int
    parameters: int
    perplexity: Mapping[str, Perplexity]
    fidelity: Fidelity | None
    tasks: Mapping[str, Task]
    checkpoint: Mapping[str, Any]
    judged: Mapping[str, Judged] = field(default_factory=dict)


def folder(results: Path, record: Record) -> Path:
    """Where the evaluations of a record lie."""
    return results / f"seed{record.seed}" / "evaluations" / record.pipeline


def read(seed_folder: Path, pipeline: str, seed: int, judged: bool = False) -> Record:
    """One record; base may lack fidelity.json, since its distance to itself is known.

    Without `judged` the verdicts of a judge are left out: they may be of an older study.
    """
    evaluations = seed_folder / "evaluations" / pipeline
    size_path = evaluations / "size.json"
    size = files.read_json(size_path)
    fidelity = evaluations / "fidelity.json"
    without_fidelity = pipeline == orderings.BASE and not fidelity.exists()
    record = Record(
        pipeline=pipeline,
        seed=seed,
        bytes=int(_number(size_path, size, "bytes", finite=True)),
        parameters=int(_number(size_path, size, "parameters", finite=True)),
        perplexity=_each(evaluations / "perplexity.json", _perplexity),
        fidelity=None if without_fidelity else _fidelity(fidelity, files.read_json(fidelity)),
        tasks=_each(evaluations / "lm_eval.json", _task),
        checkpoint={} if pipeline == orderings.BASE else _checkpoint(seed_folder, pipeline, seed),
        judged=_verdicts(evaluations / "judge.json") if judged else {},
    )
    _require_same_checkpoint(size_path, record)
    return record


def _each(path: Path, reader: Callable[[Path, Any, str], Any]) -> dict[str, Any]:
    entries = files.read_json(path)
    if not isinstance(entries, dict):
        raise HarnessError(f"{path} is not an object; delete it and run again")
    return {name: reader(path, entry, name) for name, entry in entries.items()}


def _perplexity(path: Path, entry: Any, text: str) -> Perplexity:
    protocol = _field(path, entry, "protocol", text)
    if protocol not in PROTOCOLS:
        raise HarnessError(
            f"{path}: protocol of {text!r} is {protocol!r}; use one of {', '.join(PROTOCOLS)}"
        )
    losses, counts = _numbers(path, entry, "losses", text), _numbers(path, entry, "counts", text)
    if len(losses) != len(counts) or not len(losses) or not np.all(counts > 0):
        raise HarnessError(
            f"{path}: {text!r} has {len(losses)} losses and {len(counts)} counts; there must be "
            "as many, at least one, and no count of zero; delete the file and run again"
        )
    weights = counts if protocol == "windows" else np.ones_like(counts)
    value = _number(path, entry, "perplexity", text)
    with np.errstate(over="ignore"):
        again = float(np.exp(np.sum(weights * losses) / np.sum(weights)))
    _require_agreement(path, f"perplexity of {text!r}", value, again)
    sample, tokens = _field(path, entry, "sample_sha256", text), float(np.sum(counts))
    return Perplexity(protocol, sample, losses, weights, value, tokens)


def _task(path: Path, entry: Any, task: str) -> Task:
    correct, choice = _numbers(path, entry, "correct", task), _numbers(path, entry, "choice", task)
    samples = _number(path, entry, "samples", task, finite=True)
    if not len(correct) or not len(correct) == len(choice) == samples:
        raise HarnessError(
            f"{path}: {task!r} has {samples:g} samples, {len(correct)} answers and {len(choice)} "
            "choices; there must be as many, at least one; delete the file and run again"
        )
    value = _number(path, entry, "value", task)
    _require_agreement(path, f"value of {task!r}", value, float(np.mean(correct)))
    chance = _number(path, entry, "chance", task, finite=True)
    sample = _field(path, entry, "sample_sha256", task)
    return Task(sample, correct, choice, chance, _answers(path, entry, task, len(correct)))


def _answers(path: Path, entry: Any, task: str, samples: int) -> tuple[str, ...]:
    """The generated texts; none where the answers are choices."""
    texts = entry.get("answers", [])
    told = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
    if not told or len(texts) not in (0, samples):
        raise HarnessError(
            f"{path}: answers of {task!r} are not one text for each of {samples} questions; "
            "delete the file and run again"
        )
    return tuple(texts)


def _fidelity(path: Path, entry: Any) -> Fidelity:
    sample = _field(path, entry, "sample_sha256")
    return Fidelity(sample, *(_number(path, entry, k) for k in ("kl", "kl_p99", "top1_agreement")))


def _verdicts(path: Path) -> dict[str, Judged]:
    entry = files.read_json(path)
    sample, prompts = _field(path, entry, "sample_sha256"), _field(path, entry, "prompts")
    found = {}
    for metric, its in _field(path, entry, "metrics").items():
        scores = _numbers(path, its, "scores", metric)
        if not len(scores) or len(scores) != len(prompts) or not np.all(np.isfinite(scores)):
            raise HarnessError(
                f"{path}: {metric!r} has {len(scores)} scores of {len(prompts)} answers; there "
                "must be a finite score for each, at least one; delete the file and run again"
            )
        value = _number(path, its, "value", metric)
        _require_agreement(path, f"value of {metric!r}", value, float(np.mean(scores)))
        found[metric] = Judged(sample, scores)
    return found


def _checkpoint(seed_folder: Path, pipeline: str, seed: int) -> dict[str, Any]:
    path = seed_folder / "checkpoints" / pipeline / "checkpoint.json"
    manifest = files.read_json(path)
    for key, expected in (("pipeline", pipeline), ("seed", seed)):
        found = _field(path, manifest, key)
        if found != expected:
            raise HarnessError(
                f"{path}: {key} is {found!r} but its place says {expected!r}; delete the "
                "checkpoint and run again"
            )
    return dict(manifest)


def _require_same_checkpoint(path: Path, record: Record) -> None:
    stored = record.checkpoint.get("bytes", {}).get("model", record.bytes)
    if stored != record.bytes:
        raise HarnessError(
            f"{path}: bytes is {record.bytes} but the checkpoint says {stored}; the evaluation "
            "is of another checkpoint, so delete it and run again"
        )


def _require_agreement(path: Path, what: str, stored: float, again: float) -> None:
    """A score that is not the mean of its own parts was not written by the harness."""
    if math.isfinite(stored) and not math.isclose(stored, again, rel_tol=AGREE, abs_tol=AGREE):
        raise HarnessError(
            f"{path}: {what} is {stored} but its stored parts give {again:.6g}; "
            "delete the file and run again"
        )


def _of(part: str) -> str:
    return f" of {part!r}" if part else ""


def _field(path: Path, entry: Any, key: str, part: str = "") -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise HarnessError(f"{path} has no {key!r}{_of(part)}; delete the file and run again")
    return entry[key]


def _number(path: Path, entry: Any, key: str, part: str = "", finite: bool = False) -> float:
    value = _field(path, entry, key, part)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or (finite and not math.isfinite(value)):
        raise HarnessError(
            f"{path}: {key}{_of(part)} is {value!r}, not a number; delete the file and run again"
        )
    return float(value)


def _numbers(path: Path, entry: Any, key: str, part: str) -> Array:
    values = _field(path, entry, key, part)
    try:
        return np.asarray(values, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise HarnessError(
            f"{path}: {key} of {part!r} is not a list of numbers; delete the file and run again"
        ) from None
