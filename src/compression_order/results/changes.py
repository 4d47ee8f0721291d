"""Compare every pipeline with its parent: what did each stage change?

Publications report sequences of stages in this form: the change, in percent, of adding a stage to
each sequence. For perplexity and size it is metric of child / metric of parent - 1, in percent;
for accuracies the difference, in percentage points. Standard errors are paired over the same
windows, documents or questions (`paired.py`); a size has none. Distance to base (KL) has no row:
it is zero for base, and a percentage of zero does not exist.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compression_order import orderings
from compression_order.common.writing import csv_text, show
from compression_order.results import cards
from compression_order.results.column import Scored
from compression_order.results.guards import Records

DIGITS = 3  # of a change and its error
COLUMNS = (
    "pipeline", "before", "added", "metric", "unit", "before_value", "value",
    "change", "change_se", "change_unit", "note",
)  # fmt: skip


@dataclass(frozen=True)
class Change:
    """Change of one metric by the last stage of a pipeline; None where there is no number.

    Attributes:
        pipeline: with the stage.
        metric: the column of table.csv; accuracies are in percent.
        before: the metric of the parent.
        value: the metric of the pipeline.
        change: in the unit of the column's comparison.
        se: standard error of the change, paired; NaN for a size or with fewer than two units.
        note: ok, or why there is no change.
    """

    pipeline: str
    metric: Scored
    before: float | None = None
    value: float | None = None
    change: float | None = None
    se: float | None = None
    note: str = "ok"


def build(rows: Sequence[str], records: Records, refused: Mapping[str, str]) -> list[Change]:
    """One change per pipeline and metric, in the order of the table; `base` has no stage.

    Args:
        rows: the pipelines of the table, each with its prefixes.
        records: of every pipeline that is not refused.
        refused: pipeline -> why it cannot exist.
    """
    base = records[orderings.BASE][0]
    metrics = [card for card in cards.of_readings(base.readings) if card.comparison]
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
    unit, digits, change_unit = its.metric.compared_as
    yield from (its.pipeline, orderings.parent(its.pipeline), orderings.last(its.pipeline))
    yield from (its.metric.name, unit or "1")
    yield from (show(value, digits) for value in (its.before, its.value))
    yield from (show(value, DIGITS) for value in (its.change, its.se))
    yield from (change_unit, its.note)


def _change(pipeline: str, metric: Scored, records: Records, refused: Mapping[str, str]) -> Change:
    if pipeline in refused:
        return Change(pipeline, metric, note=f"refused: {refused[pipeline]}")
    parent = orderings.parent(pipeline)
    before, after = (
        [record.reading(metric.source, metric.entry) for record in records[row]]
        for row in (parent, pipeline)
    )
    if metric.comparison is None or not all(before) or not all(after):
        return Change(pipeline, metric, note=f"{metric.name} was not measured")
    was, became, change = metric.comparison.change(before, after)
    owners = {parent: was, pipeline: became}
    broken = [name for name, value in owners.items() if not np.isfinite(value)]
    if broken:
        note = f"{metric.name} of {' and '.join(broken)} is not finite"
        return Change(pipeline, metric, was, became, note=note)
    return Change(pipeline, metric, was, became, change.value, change.se)
