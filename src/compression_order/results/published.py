"""Read the figures of the published studies, and select those that can be compared with ours.

`published/published.csv` is in long format: study, pipeline, model, metric, value, unit, trust,
note. The trust flag decides. This module returns only `reported` (as printed) and `recomputed`
(from a study's own stored outputs) figures; `invalid`, `extrapolated`, `no-op` and
`not applicable` ones are only counted.
"""

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compression_order.common.errors import HarnessError

USABLE = frozenset({"reported", "recomputed"})
UNUSABLE = frozenset({"invalid", "extrapolated", "no-op", "not applicable"})
COLUMNS = ("study", "pipeline", "model", "metric", "value", "unit", "trust", "note")
METRICS = ("size", "perplexity", "g_eval", "compression_ratio")
MIB_PER_UNIT = {"MiB": 1.0, "MiB/1000": 1000.0, "GiB": 1024.0}  # sizes are shown in MiB


@dataclass(frozen=True)
class Published:
    """One study's usable figures: pipeline -> metric -> value, sizes in MiB."""

    study: str
    models: tuple[str, ...]
    figures: Mapping[str, Mapping[str, float]]

    def value(self, pipeline: str, metric: str) -> float | None:
        """A figure, or None where the study has no usable one."""
        return self.figures.get(pipeline, {}).get(metric)


def read(path: Path, study: str) -> Published:
    """The usable figures of one study for the metrics of the table.

    Raises:
        HarnessError: no such file or study, a broken line, an unknown trust flag or unit, or
            two usable figures for one cell.
    """
    lines = _of_study(path, study)
    figures: dict[str, dict[str, float]] = {}
    models: dict[str, None] = {}
    for number, line in lines:
        if line["trust"] not in USABLE or line["metric"] not in METRICS:
            continue
        row = figures.setdefault(line["pipeline"], {})
        if line["metric"] in row:
            raise HarnessError(
                f"{path} line {number}: a second usable {line['metric']} of {line['pipeline']!r} "
                f"in {study!r}; one cell of the table holds one figure, so remove one of them"
            )
        row[line["metric"]] = _number(path, number, line)
        models[line["model"]] = None
    return Published(study, tuple(models), figures)


@dataclass(frozen=True)
class Figure:
    """One usable figure as printed, in its printed unit."""

    pipeline: str
    model: str
    metric: str
    printed: str
    unit: str

    @property
    def value(self) -> float:
        """The number."""
        return float(self.printed)

    @property
    def decimals(self) -> int:
        """Digits printed after the point."""
        return len(self.printed.partition(".")[2])


def figures(path: Path, study: str) -> tuple[Figure, ...]:
    """All usable figures of one study, of every model and metric, in the order of the file.

    Raises:
        HarnessError: as `read`.
    """
    lines = _of_study(path, study)
    for number, line in lines:
        if line["trust"] in USABLE:
            _number(path, number, {**line, "metric": ""})
    return tuple(
        Figure(line["pipeline"], line["model"], line["metric"], line["value"], line["unit"])
        for _, line in lines
        if line["trust"] in USABLE
    )


def left_out(path: Path, study: str) -> list[tuple[int, str, str, str]]:
    """Count the unusable figures of a study: (count, metric, trust, why), in the file's order.

    Raises:
        HarnessError: no such file or study, or an unknown trust flag.
    """
    lines = (line for _, line in _of_study(path, study) if line["trust"] in UNUSABLE)
    counts = Counter((line["metric"], line["trust"], line["note"]) for line in lines)
    return [(count, *reason) for reason, count in counts.items()]


def lines_of(
    path: Path, study: str, pipeline: str, metric: str
) -> list[tuple[int, dict[str, str]]]:
    """Line number and fields of every figure of a pipeline and metric, usable or not.

    Raises:
        HarnessError: no such file or study, or an unknown trust flag.
    """
    lines = _of_study(path, study)
    return [(n, its) for n, its in lines if (its["pipeline"], its["metric"]) == (pipeline, metric)]


def _of_study(path: Path, study: str) -> list[tuple[int, dict[str, str]]]:
    """Line number and fields of the records of one study, at least one."""
    every = _lines(path)
    lines = [(n, line) for n, line in every if line["study"] == study]
    if not lines:
        known = ", ".join(sorted({line["study"] for _, line in every}))
        raise HarnessError(f"{path} has no study {study!r}; use one of {known}")
    return lines


def _lines(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and fields of every record."""
    if not path.is_file():
        raise HarnessError(f"{path} does not exist; restore it from the repository")
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise HarnessError(
                f"{path}: the first line is {reader.fieldnames} but must be {','.join(COLUMNS)}; "
                "restore the file from the repository"
            )
        lines = [(reader.line_num, dict(line)) for line in reader]
    for number, line in lines:
        if line["trust"] not in USABLE | UNUSABLE:
            raise HarnessError(
                f"{path} line {number}: unknown trust {line['trust']!r}; "
                f"use one of {', '.join(sorted(USABLE | UNUSABLE))}"
            )
    return lines


def _number(path: Path, number: int, line: Mapping[str, str]) -> float:
    """The value of a record; sizes are converted to MiB."""
    try:
        value = float(line["value"])
    except (TypeError, ValueError):
        raise HarnessError(
            f"{path} line {number}: value {line['value']!r} is not a number; restore the file"
        ) from None
    if line["metric"] != "size":
        return value
    if line["unit"] not in MIB_PER_UNIT:
        raise HarnessError(
            f"{path} line {number}: unknown size unit {line['unit']!r}; "
            f"use one of {', '.join(MIB_PER_UNIT)}"
        )
    return value * MIB_PER_UNIT[line["unit"]]
