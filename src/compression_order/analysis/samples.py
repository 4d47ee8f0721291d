"""What one text, or one question set, holds of the rows that can be compared on it."""

from collections.abc import Mapping, Sequence

import numpy as np

from compression_order import orderings, paired, scores
from compression_order.analysis import groups
from compression_order.analysis.estimates import Sample, Spread, pooled
from compression_order.guards import Records
from compression_order.paired import Array

DRAWS = 2000


def of_text(text: str, rows: Sequence[str], records: Records) -> Sample:
    """The losses of the rows on a text; refused, copied and non-finite rows are left out."""
    entry = records[orderings.BASE][0].perplexity[text]
    losses, left_out = dict[str, Array](), dict[str, str]()
    for row in rows:
        why = scores.unfit(row, records)
        values = np.array([] if why else [r.perplexity[text].losses for r in records[row]])
        if not why and not np.isfinite(values).all():
            why = "its perplexity is not finite"
        if why:
            left_out[row] = why
        else:
            losses[row] = values
    return Sample(
        text=text,
        units=f"{len(entry.losses)} {entry.protocol}",
        losses=losses,
        weights=entry.weights,
        tokens=entry.tokens / len(entry.losses),
        left_out=left_out,
    )


def draws(sample: Sample) -> dict[str, Array]:
    """Log perplexity of every row, the mean over seeds, in each bootstrap draw, [draws]."""
    means = [losses.mean(axis=0) for losses in sample.losses.values()]
    return dict(
        zip(sample.losses, paired.bootstrap_means(means, sample.weights, DRAWS), strict=True)
    )


def spread_of(sample: Sample, rows: Sequence[str]) -> Spread | None:
    """Seed spread pooled over the orders that these rows are among; None: stages differ."""
    orders = groups.same_stages(rows[0], list(sample.losses))
    return pooled(sample, orders) if set(rows) <= set(orders) else None


def right(task: str, rows: Sequence[str], records: Records) -> Mapping[str, Array]:
    """What each row answers right, [seeds, questions], of the rows that were asked."""
    return {
        row: np.array([record.tasks[task].correct for record in records[row]])
        for row in rows
        if row in records
    }


def chosen(task: str, rows: Sequence[str], records: Records) -> Mapping[str, Array]:
    """What each row chooses, [seeds, questions]; generated answers as their texts."""
    return {
        row: np.array([record.tasks[task].answers or record.tasks[task].choice
                       for record in records[row]])
        for row in rows
        if row in records
    }  # fmt: skip
