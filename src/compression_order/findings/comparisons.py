"""Families of perplexity contrasts, each corrected as a whole, as analysis.json holds them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, permutations
from typing import Any

import numpy as np

from compression_order import orderings
from compression_order.orderings import Orders
from compression_order.results import scores
from compression_order.results.guards import Records
from compression_order.statistics import estimates, multiplicity, paired
from compression_order.statistics.estimates import Coefficients, Sample, Spread, pooled
from compression_order.statistics.paired import Array

DRAWS = 2000  # of the bootstrap

Entry = dict[str, Any]
Asked = tuple[Entry, Coefficients]  # names of a comparison, and its contrast


def tested(sample: Sample, asked: Sequence[Asked], drawn: Mapping[str, Array]) -> list[Entry]:
    """Every comparison with its effect, intervals, p-values and verdict.

    Args:
        sample: the losses.
        asked: the family.
        drawn: bootstrap draws of the rows, from `draws`.
    """
    effects = [estimates.contrast(sample, c, spread_of(sample, list(c))) for _, c in asked]
    verdicts = multiplicity.corrected([effect.p for effect in effects])
    level = multiplicity.simultaneous_level(len(asked))
    found = []
    for (label, c), effect, verdict in zip(asked, effects, verdicts, strict=True):
        redrawn = np.sum([weight * drawn[row] for row, weight in c.items()], axis=0)
        found.append(
            {
                **label,
                "log_ratio": effect.value,
                "ratio": math.exp(effect.value),
                "se": effect.se,
                "df": effect.df,
                "se_text": effect.unit_se,
                "sd_units": effect.unit_sd,
                "sd_seeds": effect.seed_sd,
                **verdict,
                "interval": _ratios(effect.interval()),
                "simultaneous": _ratios(effect.interval(level)),
                "bootstrap_text": _ratios(paired.expanded_interval(redrawn, len(sample.weights))),
            }
        )
    return found


def _ratios(interval: tuple[float, float]) -> list[float]:
    with np.errstate(over="ignore"):
        return [float(np.exp(end)) for end in interval]


def pairs(rows: Sequence[str]) -> list[Asked]:
    """Every two rows, the first over the second."""
    return [
        ({"first": a, "second": b}, estimates.pair(a, b)) for a, b in combinations(rows, 2)
    ]  # fmt: skip


def positions(orders: Orders, available: Sequence[str]) -> list[Asked]:
    """Main effect of each stage at each position over the mean of all orders.

    None unless every order of distinct stages is there, because the effects would be confounded.
    None for two stages, whose single swap gives the same number.
    """
    stages = orders.stages
    if len(set(stages)) < len(stages) or len(stages) < 3:
        return []
    every = [orderings.join(order) for order in permutations(stages)]
    if not set(every) <= set(available):
        return []
    asked: list[Asked] = []
    for stage in stages:
        for nth in range(len(stages)):
            at = [row for row in every if orderings.split(row)[nth] == stage]
            c = {row: (row in at) / len(at) - 1 / len(every) for row in every}
            asked.append(({"stage": stage, "position": nth + 1}, c))
    return asked


def commutators(rows: Sequence[str]) -> list[Asked]:
    """Pairs that differ only by a swap of neighbouring stages: ...-X-Y-... over ...-Y-X-..."""
    asked: list[Asked] = []
    for one, other in orderings.swaps(rows):
        tokens, at = orderings.split(one), orderings.swapped(one, other) or 0
        label = {
            "first": one,
            "second": other,
            "swapped": [tokens[at], tokens[at + 1]],
            "after": orderings.join(tokens[:at]),
            "then": "-".join(tokens[at + 2 :]),
        }
        asked.append((label, estimates.pair(one, other)))
    return asked


def mean_absolute(sample: Sample, first: str, second: str) -> float:
    """Mean over seeds and units of |loss difference|, nats per token: a distance of two models."""
    distance = np.abs(sample.losses[first] - sample.losses[second]).mean(axis=0)
    return paired.mean_se(distance, sample.weights).value


def comparable(rows: Sequence[str], sample: Sample) -> Iterator[str]:
    """The rows that the sample contains, in order."""
    return (row for row in rows if row in sample.losses)


def sample_of(text: str, rows: Sequence[str], records: Records) -> Sample:
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
    """Seed spread pooled over all orders of these rows' stages; None if their stages differ."""
    orders = orderings.same_stages(rows[0], list(sample.losses))
    return pooled(sample, orders) if set(rows) <= set(orders) else None


def right(task: str, rows: Sequence[str], records: Records) -> Mapping[str, Array]:
    """Right answers of each row that was asked, [seeds, questions]."""
    return {
        row: np.array([record.tasks[task].correct for record in records[row]])
        for row in rows
        if row in records
    }


def chosen(task: str, rows: Sequence[str], records: Records) -> Mapping[str, Array]:
    """Chosen answers of each row, [seeds, questions]; generated answers as texts."""
    return {
        row: np.array([record.tasks[task].answers or record.tasks[task].choice
                       for record in records[row]])
        for row in rows
        if row in records
    }  # fmt: skip
