"""What each stage changed: every pipeline held against its parent.

The form in which sequences of stages are published: the change, in percent, of adding a stage to
each sequence. Perplexity and size change by metric of child / metric of parent - 1, in percent;
accuracies by their difference, in percentage points. Standard errors are paired over the same
windows, documents or questions (`paired.py`); a size has none. Distance to base (KL) has no row:
base's is zero, and no percentage of it exists.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compression_order import orderings
from compression_order.common.writing import MIB, csv_text, show
from compression_order.results.guards import Records
from compression_order.results.records import Record
from compression_order.statistics import paired

PERCENT, POINTS = "%", "points"
SIZE = "size_mib"
DIGITS = 3  # of a change and its error
COLUMNS = (
    "pipeline", "before", "added", "metric", "unit", "before_value", "value",
    "change", "change_se", "change_unit", "note",
)  # fmt: skip


# of the parent, of the pipeline, and the change
Estimated = tuple[float, float, paired.Estimate]


@dataclass(frozen=True)
class Metric:
    """One column of the table that changes are told of."""

    name: str
    unit: str
    digits: int
    change_unit: str


@dataclass(frozen=True)
class Change:
    """What the last stage of a pipeline made of one metric; None where there is no number.

    Attributes:
        pipeline: with the stage.
        metric: as in table.csv, but for accuracies, which are in percent.
        before: the metric of the parent.
        value: the metric of the pipeline.
        change: in the metric's `change_unit`.
        se: standard error of the change, paired; NaN for a size or with fewer than two units.
        note: ok, or why there is no change.
    """

    pipeline: str
    metric: Metric
    before: float | None = None
    value: float | None = None
    change: float | None = None
    se: float | None = None
    note: str = "ok"


def build(rows: Sequence[str], records: Records, refused: Mapping[str, str]) -> list[Change]:
    """One change a pipeline and metric, in the order of the table; `base` has no stage.

    Args:
        rows: the pipelines of the table, each with its prefixes.
        records: of every pipeline that is not refused.
        refused: pipeline -> why it cannot exist.
    """
    base = records[orderings.BASE][0]
    metrics = [Metric(SIZE, "MiB", 2, PERCENT)]
    metrics += [Metric(f"ppl_{text}", "", 4, PERCENT) for text in base.perplexity]
    metrics += [Metric(f"acc_{task}", "%", 2, POINTS) for task in base.tasks]
    return [
        _change(pipeline, metric, records, refused)
        for pipeline in rows
        if pipeline != orderings.BASE
        for metric in metrics
    ]


def to_csv(changes: Sequence[Change]) -> str:
    """The changes as CSV with fixed decimals and LF: equal changes give equal bytes."""
    return csv_text(COLUMNS, (list(_cells(change)) for change in changes))


def _cells(its: Change) -> Iterator[str]:
    yield from (its.pipeline, orderings.parent(its.pipeline), orderings.last(its.pipeline))
    yield from (its.metric.name, its.metric.unit or "1")
    yield from (show(value, its.metric.digits) for value in (its.before, its.value))
    yield from (show(value, DIGITS) for value in (its.change, its.se))
    yield from (its.metric.change_unit, its.note)


def _change(pipeline: str, metric: Metric, records: Records, refused: Mapping[str, str]) -> Change:
    if pipeline in refused:
        return Change(pipeline, metric, note=f"refused: {refused[pipeline]}")
    after, before = records[pipeline], records[orderings.parent(pipeline)]
    kind, _, part = metric.name.partition("_")
    if kind == "ppl":
        was, became, change = _perplexity(part, before, after)
    elif kind == "acc":
        was, became, change = _accuracy(part, before, after)
    else:
        was, became, change = _size(before, after)
    owners = {orderings.parent(pipeline): was, pipeline: became}
    broken = [name for name, value in owners.items() if not np.isfinite(value)]
    if broken:
        note = f"{metric.name} of {' and '.join(broken)} is not finite"
        return Change(pipeline, metric, was, became, note=note)
    return Change(pipeline, metric, was, became, change.value, change.se)


def _size(before: Sequence[Record], after: Sequence[Record]) -> Estimated:
    was, became = (float(np.mean([r.bytes / MIB for r in its])) for its in (before, after))
    ratio = float(np.mean([a.bytes / b.bytes for a, b in zip(after, before, strict=True)]))
    return was, became, paired.Estimate(100 * (ratio - 1), np.nan)


def _perplexity(text: str, before: Sequence[Record], after: Sequence[Record]) -> Estimated:
    was, became = (np.array([r.perplexity[text].losses for r in its]) for its in (before, after))
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = paired.ratio(became, was, before[0].perplexity[text].weights)
    values = [float(np.mean([r.perplexity[text].value for r in its])) for its in (before, after)]
    return values[0], values[1], paired.Estimate(100 * (ratio.value - 1), 100 * ratio.se)


def _accuracy(task: str, before: Sequence[Record], after: Sequence[Record]) -> Estimated:
    was, became = (
        100 * np.mean([r.tasks[task].correct for r in its], axis=0) for its in (before, after)
    )
    return float(was.mean()), float(became.mean()), paired.mean_se(became - was)
