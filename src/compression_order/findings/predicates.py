"""Test two rules about orders: do not prune after quantizing, do not train after quantizing.

A predicate holds where an order does prune, or train, after quantizing. It splits the orders of
the same stages in two groups. Three numbers measure the split, all as factors of perplexity: the
ratio of the geometric means of the two groups; the same ratio with the other predicate held fixed
(least squares with both as columns, a contrast like any other); and the gap, which is the lowest
perplexity where the predicate holds over the highest where it does not. A gap is above one only if
the groups do not overlap. It is a minimum over a maximum, so its interval comes from the bootstrap
over text alone, and seeds are counted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compression_order import orderings
from compression_order.findings import comparisons
from compression_order.findings.comparisons import Labelled
from compression_order.results import quantized_first, verdict
from compression_order.results.published import Published
from compression_order.statistics import paired
from compression_order.statistics.estimates import Sample
from compression_order.statistics.paired import Array

# kinds of stage after a quantization for which the predicate holds
PREDICATES = {
    "prune after quantize": quantized_first.PRUNING,
    "train after quantize": quantized_first.TRAINING,
}


def split(
    rows: Sequence[str], predicate: str, kinds: Mapping[str, str]
) -> tuple[list[str], list[str]] | None:
    """The rows where a predicate holds and those where it does not; None without both."""
    told = {row: quantized_first.holds(row, PREDICATES[predicate], kinds) for row in rows}
    yes = [row for row, it in told.items() if it is True]
    no = [row for row, it in told.items() if it is False]
    return (yes, no) if yes and no else None


def asked(rows: Sequence[str], kinds: Mapping[str, str]) -> list[Labelled]:
    """The contrasts of both predicates, alone and with the other held fixed."""
    splits = {p: found for p in PREDICATES if (found := split(rows, p, kinds))}
    family: list[Labelled] = []
    for predicate, (yes, no) in splits.items():
        c = {row: 1 / len(yes) for row in yes} | {row: -1 / len(no) for row in no}
        family.append(({"predicate": predicate, "held_fixed": None}, c))
    return family + (_adjusted(splits) if len(splits) == len(PREDICATES) else [])


def _adjusted(splits: Mapping[str, tuple[list[str], list[str]]]) -> list[Labelled]:
    """Each predicate's coefficient with the other held fixed, by least squares over the orders."""
    rows = [row for part in next(iter(splits.values())) for row in part]
    holds = [set(yes) for yes, _ in splits.values()]
    columns = [[float(row in yes) for row in rows] for yes in holds]
    design = np.array([np.ones(len(rows)), *columns]).T
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return []
    weights = np.linalg.pinv(design)[1:]
    names = list(splits)
    return [
        (
            {"predicate": name, "held_fixed": names[1 - nth]},
            {row: float(c) for row, c in zip(rows, weights[nth], strict=True)},
        )
        for nth, name in enumerate(names)
    ]


def gaps(
    sample: Sample,
    rows: Sequence[str],
    kinds: Mapping[str, str],
    drawn: Mapping[str, Array],
    published: Published | None,
) -> list[dict[str, Any]]:
    """The gap of each predicate, beside that of the published perplexities."""
    found = []
    for predicate in PREDICATES:
        parts = split(list(comparisons.comparable(rows, sample)), predicate, kinds)
        if parts is None:
            continue
        groups = (parts[1], parts[0])
        seeds = {row: sample.means(row) for part in groups for row in part}
        value = verdict.gap(groups, {row: float(v.mean()) for row, v in seeds.items()})
        interval = paired.expanded_interval(verdict.gaps(groups, drawn), len(sample.weights))
        found.append(
            {
                "predicate": predicate,
                "holds": parts[0],
                "does_not_hold": parts[1],
                "lowest_where_it_holds": value.upper,
                "highest_where_not": value.lower,
                "gap": float(np.exp(value.value)),
                "gap_interval_text": [float(np.exp(end)) for end in interval],
                "seeds_without_overlap": int(np.sum(verdict.gaps(groups, seeds) > 0)),
                "seeds": sample.seeds,
                "published_gap": _published_gap(groups, published),
            }
        )
    return found


def _published_gap(groups: Sequence[Sequence[str]], published: Published | None) -> float | None:
    """The gap of the usable published perplexities of the same orders."""
    if published is None:
        return None
    values = {
        row: published.value(orderings.plain(row), "perplexity") for part in groups for row in part
    }
    known = {row: float(np.log(v)) for row, v in values.items() if v is not None}
    if len(known) < len(values):
        return None
    return float(np.exp(verdict.gap(groups, known).value))
