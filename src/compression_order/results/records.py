"""Measurements of one checkpoint, read from its evaluation files as the cards define."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from compression_order import orderings
from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.results import cards, readings
from compression_order.results.readings import Judged, Measured, Perplexity, Reading, Source, Task


@dataclass(frozen=True)
class Record:
    """One pipeline at one seed.

    Attributes:
        pipeline: its name.
        seed: of the replicate.
        checkpoint: its manifest; empty for base, which no stage wrote.
        readings: source -> part (text, question set, judged metric, key) -> reading.
    """

    pipeline: str
    seed: int
    checkpoint: Mapping[str, Any]
    readings: Mapping[Source, Mapping[str, Reading]]

    def reading(self, source: Source, part: str) -> Reading | None:
        """One reading; None where the study did not measure it."""
        return self.readings.get(source, {}).get(part)

    @property
    def perplexity(self) -> Mapping[str, Perplexity]:
        """By text."""
        return cast(Mapping[str, Perplexity], self.readings.get(readings.TEXTS, {}))

    @property
    def tasks(self) -> Mapping[str, Task]:
        """By question set."""
        return cast(Mapping[str, Task], self.readings.get(readings.QUESTIONS, {}))

    @property
    def judged(self) -> Mapping[str, Judged]:
        """By judged metric."""
        return cast(Mapping[str, Judged], self.readings.get(readings.VERDICTS, {}))

    @property
    def bytes(self) -> int:
        """Of the model file on disk."""
        return int(self._fact(readings.BYTES))

    @property
    def parameters(self) -> int:
        """A tied embedding counted once."""
        return int(self._fact(readings.PARAMETERS))

    def _fact(self, source: Source) -> float:
        return cast(Measured, self.readings[source][source.key]).value


def folder(results: Path, record: Record) -> Path:
    """Where the evaluations of a record lie."""
    return results / f"seed{record.seed}" / "evaluations" / record.pipeline


def read(seed_folder: Path, pipeline: str, seed: int, judged: bool = False) -> Record:
    """Read one record; base may lack the files of distances, since its distance to itself is known.

    Without `judged` a judge's verdicts are ignored, because they may be from an older study.
    """
    evaluations = seed_folder / "evaluations" / pipeline
    is_base = pipeline == orderings.BASE
    wanted = cards.sources(judged)
    found: dict[Source, Mapping[str, Reading]] = {}
    for name in dict.fromkeys(source.file for source in wanted):
        its = [source for source in wanted if source.file == name]
        found |= _read_file(evaluations / name, its, is_base)
    checkpoint = {} if is_base else _checkpoint(seed_folder, pipeline, seed)
    record = Record(pipeline, seed, checkpoint, found)
    _require_same_checkpoint(evaluations / readings.BYTES.file, record)
    return record


def _read_file(
    path: Path, sources: Sequence[Source], is_base: bool
) -> dict[Source, Mapping[str, Reading]]:
    """The readings of several sources in one file."""
    needed = [source for source in sources if not source.may_lack]
    known = {source: its for source in needed if (its := source.of_base()) is not None}
    if not path.exists() and (not needed or (is_base and len(known) == len(needed))):
        return dict(known)
    content = files.read_json(path)
    return {source: source.read(path, content) for source in sources}


def _checkpoint(seed_folder: Path, pipeline: str, seed: int) -> dict[str, Any]:
    path = seed_folder / "checkpoints" / pipeline / "checkpoint.json"
    manifest = files.read_json(path)
    for key, expected in (("pipeline", pipeline), ("seed", seed)):
        found = readings.field(path, manifest, key)
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
