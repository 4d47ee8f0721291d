"""Read and check the evaluation files: one source for each form of entry.

A source defines the file of a reading and how to read it. Cards (cards.py) name their source, so
that a new column can use an existing reader.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from compression_order.common import arithmetic
from compression_order.common.errors import HarnessError
from compression_order.statistics.paired import Array

PROTOCOLS = ("windows", "documents")
AGREE = 1e-4  # relative: a stored score must be the mean of its own stored parts


@dataclass(frozen=True)
class Measured:
    """One number of a checkpoint, and the hash of what it was scored on, if on anything."""

    value: float
    sample: str | None = None

    @property
    def scored(self) -> str | None:
        """What was scored: two rows can be compared only if it is the same."""
        return self.sample


@dataclass(frozen=True)
class Perplexity:
    """Losses (mean nats per token) of the units of one text.

    A unit is a document; or a window, where windows may cross documents. `weights` are those of
    the protocol: tokens of windows, one of a whole document. `counts` are the scored tokens of each
    unit, `records` the numbers of the documents in the text with the digest `text`; empty: not
    recorded.
    """

    protocol: str
    sample: str
    losses: Array
    weights: Array
    counts: Array
    value: float
    tokens: float  # that were scored
    compute: str  # what the products of the model were made in
    unit: str
    records: tuple[int, ...] = ()
    text: str = ""

    @property
    def scored(self) -> str:
        """What was scored, into how many units it was cut, and in which arithmetic."""
        return f"{self.sample} ({len(self.losses)} {self.unit}, {self.compute})"


@dataclass(frozen=True)
class Task:
    """One question set: correctness (0 or 1, or a score) and chosen index per question.

    `answers` are the texts if they are generated; the index then numbers the distinct texts.
    """

    sample: str
    correct: Array
    choice: Array
    chance: float
    answers: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        """Share of right answers, or the mean score."""
        return float(np.mean(self.correct))

    @property
    def graded(self) -> bool:
        """Whether an answer can be partly right; such a set has no chance level."""
        return not np.isin(self.correct, (0, 1)).all()

    @property
    def scored(self) -> str:
        """What was asked."""
        return f"{self.sample} ({len(self.correct)} questions)"


@dataclass(frozen=True)
class Judged:
    """One judged metric: hash of prompts and judge, and the score of each answer, 0..1."""

    sample: str
    scores: Array

    @property
    def value(self) -> float:
        """The mean score."""
        return float(np.mean(self.scores))

    @property
    def scored(self) -> str:
        """What was judged."""
        return f"{self.sample} ({len(self.scores)} answers)"


Reading = Measured | Perplexity | Task | Judged


@dataclass(frozen=True)
class Source:
    """A form of entry of one evaluation file.

    Attributes:
        file: its name in the folder of the evaluations of a row.
        key: of the one number that is read; empty where a file has an entry for each text, question
            set or judged metric.
        may_lack: whether a study may lack it, then in every row.
    """

    may_lack: ClassVar[bool] = False
    file: str
    key: str = ""

    def read(self, path: Path, content: Any) -> Mapping[str, Reading]:
        """Part (a text, a question set, a metric, a key) -> what was read of it."""
        raise NotImplementedError

    def of_base(self) -> Mapping[str, Reading] | None:
        """The value for base that needs no measurement; None: base must be measured."""
        return None


@dataclass(frozen=True)
class Number(Source):
    """A number, scored on the sample that the file names.

    Either every row of a study has it or none; without it the column is n/a.
    """

    may_lack: ClassVar[bool] = True

    def read(self, path: Path, content: Any) -> Mapping[str, Reading]:
        """The number, if the file has it."""
        if not isinstance(content, dict) or self.key not in content:
            return {}
        return {self.key: Measured(number(path, content, self.key), _sample(path, content))}


@dataclass(frozen=True)
class Fact(Number):
    """A finite number that every checkpoint has and that depends on no sample."""

    may_lack: ClassVar[bool] = False

    def read(self, path: Path, content: Any) -> Mapping[str, Reading]:
        """The number."""
        return {self.key: Measured(number(path, content, self.key, finite=True))}


@dataclass(frozen=True)
class Distance(Number):
    """A number that compares a row with base, and its value for base itself."""

    may_lack: ClassVar[bool] = False
    known: float = 0.0

    def read(self, path: Path, content: Any) -> Mapping[str, Reading]:
        """The number and its sample."""
        sample = _sample(path, content)
        return {self.key: Measured(number(path, content, self.key), sample)}

    def of_base(self) -> Mapping[str, Reading]:
        """Base is at no distance from itself."""
        return {self.key: Measured(self.known)}


@dataclass(frozen=True)
class Texts(Source):
    """Perplexity, text by text."""

    def read(self, path: Path, content: Any) -> Mapping[str, Reading]:
        """The losses of every text."""
        return {
            name: read_perplexity(path, its, name) for name, its in _object(path, content).items()
        }


@dataclass(frozen=True)
class Questions(Source):
    """Answers, question set by question set."""

    def read(self, path: Path, content: Any) -> Mapping[str, Reading]:
        """The answers to every question set."""
        return {name: read_task(path, its, name) for name, its in _object(path, content).items()}


@dataclass(frozen=True)
class Verdicts(Source):
    """Verdicts of the study's judge, metric by metric."""

    def read(self, path: Path, content: Any) -> Mapping[str, Reading]:
        """The scores of every judged metric."""
        sample, prompts = _sample(path, content), field(path, content, "prompts")
        metrics = field(path, content, "metrics")
        return {
            metric: _judged(path, its, metric, sample, len(prompts))
            for metric, its in metrics.items()
        }


TEXTS = Texts("perplexity.json")
QUESTIONS = Questions("lm_eval.json")
VERDICTS = Verdicts("judge.json")
BYTES = Fact("size.json", "bytes")
PARAMETERS = Fact("size.json", "parameters")


def read_perplexity(path: Path, entry: Any, text: str) -> Perplexity:
    """The losses of one text, proven to give the stored perplexity."""
    protocol = field(path, entry, "protocol", text)
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
    unit = protocol
    if "clusters" in entry:
        losses, counts, unit = *_by_document(path, entry, text, losses, counts), "documents"
    weights = counts if protocol == "windows" else np.ones_like(counts)
    value = number(path, entry, "perplexity", text)
    with np.errstate(over="ignore"):
        again = float(np.exp(np.sum(weights * losses) / np.sum(weights)))
    _require_agreement(path, f"perplexity of {text!r}", value, again)
    sample, tokens = _sample(path, entry, text), float(np.sum(counts))
    # records from before studies named their arithmetic are of bf16
    compute = str(entry.get("compute", arithmetic.BF16))
    records = tuple(int(its) for its in entry.get("records", []))
    return Perplexity(
        protocol, sample, losses, weights, counts, value, tokens, compute, unit,
        records, str(entry.get("text_sha256", "")),
    )  # fmt: skip


def _by_document(
    path: Path, entry: Any, text: str, losses: Array, counts: Array
) -> tuple[Array, Array]:
    """Mean losses and tokens of each document: its windows are not independent of each other."""
    clusters = _numbers(path, entry, "clusters", text)
    if len(clusters) != len(losses):
        raise HarnessError(
            f"{path}: {text!r} has {len(losses)} losses of {len(clusters)} clusters; there must be "
            "as many; delete the file and run again"
        )
    _, place = np.unique(clusters, return_inverse=True)
    tokens: Array = np.bincount(place, counts).astype(np.float64)
    means: Array = np.bincount(place, counts * losses) / tokens
    return means, tokens


def read_task(path: Path, entry: Any, task: str) -> Task:
    """The answers to one question set, proven to give the stored score."""
    correct, choice = _numbers(path, entry, "correct", task), _numbers(path, entry, "choice", task)
    samples = number(path, entry, "samples", task, finite=True)
    if not len(correct) or not len(correct) == len(choice) == samples:
        raise HarnessError(
            f"{path}: {task!r} has {samples:g} samples, {len(correct)} answers and {len(choice)} "
            "choices; there must be as many, at least one; delete the file and run again"
        )
    value = number(path, entry, "value", task)
    _require_agreement(path, f"value of {task!r}", value, float(np.mean(correct)))
    chance = number(path, entry, "chance", task, finite=True)
    sample = _sample(path, entry, task)
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


def _judged(path: Path, entry: Any, metric: str, sample: str, prompts: int) -> Judged:
    scores = _numbers(path, entry, "scores", metric)
    if not len(scores) or len(scores) != prompts or not np.all(np.isfinite(scores)):
        raise HarnessError(
            f"{path}: {metric!r} has {len(scores)} scores of {prompts} answers; there "
            "must be a finite score for each, at least one; delete the file and run again"
        )
    value = number(path, entry, "value", metric)
    _require_agreement(path, f"value of {metric!r}", value, float(np.mean(scores)))
    return Judged(sample, scores)


def _require_agreement(path: Path, what: str, stored: float, again: float) -> None:
    """Refuse a score that is not the mean of its own parts: the harness did not write it."""
    if math.isfinite(stored) and not math.isclose(stored, again, rel_tol=AGREE, abs_tol=AGREE):
        raise HarnessError(
            f"{path}: {what} is {stored} but its stored parts give {again:.6g}; "
            "delete the file and run again"
        )


def _object(path: Path, content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise HarnessError(f"{path} is not an object; delete it and run again")
    return content


def _of(part: str) -> str:
    return f" of {part!r}" if part else ""


def _sample(path: Path, entry: Any, part: str = "") -> str:
    return str(field(path, entry, "sample_sha256", part))


def field(path: Path, entry: Any, key: str, part: str = "") -> Any:
    """The value of a key; an error if it is missing."""
    if not isinstance(entry, dict) or key not in entry:
        raise HarnessError(f"{path} has no {key!r}{_of(part)}; delete the file and run again")
    return entry[key]


def number(path: Path, entry: Any, key: str, part: str = "", finite: bool = False) -> float:
    """The number of a key; an error if the value is no number."""
    value = field(path, entry, key, part)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (finite and not math.isfinite(value)):
        raise HarnessError(
            f"{path}: {key}{_of(part)} is {value!r}, not a number; delete the file and run again"
        )
    return float(value)


def _numbers(path: Path, entry: Any, key: str, part: str) -> Array:
    values = field(path, entry, key, part)
    try:
        return np.asarray(values, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise HarnessError(
            f"{path}: {key} of {part!r} is not a list of numbers; delete the file and run again"
        ) from None
