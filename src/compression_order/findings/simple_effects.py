"""Effects of two rules about orders: do not prune, and do not train, after quantizing.

A predicate holds where an order does prune, or train, after quantizing. Two predicates cut the
orders of the same stages into four cells. The effect of one is told where the other holds and where
it does not: these *simple effects* are ratios of geometric mean perplexities of two cells. Their
ratio is the interaction. No effect is averaged over the other predicate: where the two interact,
the average describes no order (Maxwell and Delaney, Designing Experiments and Analyzing Data,
2nd edition, 2004, chapter 7).

The gap of a predicate is the lowest perplexity where it holds over the highest where it does not: a
published claim. It is above one only if the groups do not overlap. It is a minimum over a maximum,
so its interval comes from the bootstrap over text alone, and seeds are counted.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from compression_order import orderings
from compression_order.findings import chosen
from compression_order.findings.comparisons import Labelled
from compression_order.results import quantized_first, verdict
from compression_order.results.published import Published
from compression_order.statistics import contrast, paired
from compression_order.statistics.estimates import Sample
from compression_order.statistics.paired import Array

PRUNE, TRAIN, INTERACTION = "prune after quantize", "train after quantize", "interaction"
# kinds of stage after a quantization for which the predicate holds
PREDICATES = {PRUNE: quantized_first.PRUNING, TRAIN: quantized_first.TRAINING}
# where the other predicate holds and does not; a study without its stage says neither
WHERE = {
    PRUNE: {True: "training after quantizing", False: "training before quantizing", None: ""},
    TRAIN: {True: "pruning after quantizing", False: "pruning before quantizing", None: ""},
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
    """The simple effects of both predicates, and their interaction, as far as there are rows."""
    cells: dict[tuple[bool | None, ...], list[str]] = {}
    for row in rows:
        at = tuple(quantized_first.holds(row, its, kinds) for its in PREDICATES.values())
        cells.setdefault(at, []).append(row)
    family: list[Labelled] = []
    for nth, (predicate, places) in enumerate(WHERE.items()):
        for other, where in places.items():
            yes, no = (cells.get(_cell(nth, holds, other)) for holds in (True, False))
            if yes and no:
                label = {"effect": predicate, "where": where, "holds": yes, "others": no}
                family.append((label, contrast.geometric([yes], [no])))
    whole = [cells.get(at) for at in ((True, True), (False, False), (True, False), (False, True))]
    if all(whole):
        both, neither, one, other_one = (its or [] for its in whole)
        label = {"effect": INTERACTION, "where": "", "holds": both, "others": neither}
        coefficients = contrast.geometric([both, neither], [one, other_one])
        family.append((label, coefficients))
    return family


def _cell(nth: int, holds: bool, other: bool | None) -> tuple[bool | None, ...]:
    """The cell where the predicate of that number holds or not, beside the other one."""
    return (holds, other) if nth == 0 else (other, holds)


def name_causes(
    entry: Mapping[str, Any],
    every: Sequence[Mapping[str, Any]],
    bare: Mapping[str, str],
    recovering: Collection[str],
    kinds: Mapping[str, str],
) -> None:
    """Write what an effect of pruning may be called into each such effect.

    The recovery inside a pruning is a training after quantizing too. So the effect is one of
    pruning only where the orders without recovery have the same verdict. Their own training may be
    another of its kind, such as one that reads what recovery would have read.

    Args:
        entry: orders of the same stages, as analysis.json holds them.
        every: those of all sets of stages.
        bare: pruning -> the same pruning without recovery.
        recovering: the prunings that train.
        kinds: token -> kind of stage.
    """
    twins = {**bare, **{control: token for token, control in bare.items()}}
    cut = next((t for t in entry["stages"] if t in twins or t in recovering), None)
    twin = twins.get(cut or "")
    wanted = sorted(kinds[token] for token in entry["stages"])
    others = [
        its
        for its in every
        if twin in its["stages"] and sorted(kinds[token] for token in its["stages"]) == wanted
    ]
    alone = "cutting and recovering" if cut in recovering else "cutting"
    for effect in _effects(entry):
        if effect["effect"] != PRUNE:
            continue
        told = [verdict_of(e) for its in others for e in _effects(its) if _same(e, effect)]
        alike = bool(told) and set(told) == {verdict_of(effect)} != {OPEN}
        effect["acts"] = "pruning" if alike or cut is None else alone


LOWER, HIGHER, EQUAL, OPEN = "lower", "higher", "equal", "open"


def verdict_of(entry: Mapping[str, Any]) -> str:
    """Lower or higher where a comparison is separable, equal where it is shown to be, or open."""
    if entry["separable"]:
        return LOWER if entry["log_ratio"] < 0 else HIGHER
    return EQUAL if entry["equal"] else OPEN


def _effects(entry: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    family = entry["simple_effects"]
    return () if isinstance(family, str) else family["entries"]


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return (one["effect"], one["where"]) == (other["effect"], other["where"])


def gaps(
    sample: Sample,
    rows: Sequence[str],
    kinds: Mapping[str, str],
    drawn: Mapping[str, Array],
) -> list[dict[str, Any]]:
    """The gap of each predicate.

    Args:
        sample: the losses.
        rows: orders of the same stages.
        kinds: token -> kind of stage.
        drawn: row -> log perplexity in each bootstrap draw.
    """
    found = []
    for predicate in PREDICATES:
        parts = split(list(chosen.comparable(rows, sample)), predicate, kinds)
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
            }
        )
    return found


def published_gap(
    entry: Mapping[str, Any], rows: Sequence[str], published: Published | None
) -> float | None:
    """The same gap of the usable published perplexities.

    Args:
        entry: the gap.
        rows: of the arm.
        published: usable figures of the published study.
    """
    if published is None:
        return None
    groups = (entry["does_not_hold"], entry["holds"])
    # a control stands for no published row
    names = {row: orderings.stands_for(row, rows, {}) for part in groups for row in part}
    values = {row: name and published.value(name, "perplexity") for row, name in names.items()}
    known = {row: float(np.log(v)) for row, v in values.items() if v is not None}
    if len(known) < len(values):
        return None
    return float(np.exp(verdict.gap(groups, known).value))
