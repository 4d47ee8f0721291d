"""Whether training works, before any order is compared, and what a teacher adds to it.

The manipulation check: each training on each parent, with and without. A distillation or
fine-tuning is compared with its parent; the recovery of a pruning with the same pruning without
recovery. Where a training does not help, a ranking of orders that contain it says how much text
each of them could keep, not what the order does. A cut and a quantization are checked by size when
their checkpoint is made.

The teacher's part: an effect among orders with distillation less the same effect among the orders
with fine-tuning on the same conversations in its place.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from compression_order import orderings
from compression_order.findings import controls, simple_effects
from compression_order.findings.comparisons import Labelled
from compression_order.findings.controls import Token
from compression_order.findings.listing import Entry
from compression_order.results import quantized_first
from compression_order.results.guards import Records
from compression_order.statistics import contrast


def manipulations(
    rows: Sequence[str], known: Mapping[str, Token], records: Records
) -> list[Labelled]:
    """Every row that ends in a training over the same row without it.

    On a quantized parent each also says what of the linears' training was left by quantizing them
    again, where the manifest tells.
    """
    without_recovery = {
        token: control for why, token, control in controls.twins(known) if why == controls.RECOVERY
    }
    there, found = {orderings.BASE, *rows}, list[Labelled]()
    for row in rows:
        if row == orderings.BASE:
            continue
        token, parent = orderings.last(row), orderings.parent(row)
        its = known.get(token)
        if its and its.teaches_itself:
            continue  # a negative control, which is not to train
        if its and its.kind in quantized_first.TRAINING and its.trained:
            trains, without = token, parent
        elif token in without_recovery:
            bare = without_recovery[token]
            trains = f"recovery of {token}"
            without = orderings.join([*orderings.split(parent), bare])
        else:
            continue
        if without in there:
            label: Entry = {"trains": trains, "after": parent, "with": row, "without": without}
            left = [_kept(record.checkpoint) for record in records[row]]
            several = [its for its in left if its is not None]
            label["kept"] = sum(several) / len(several) if several else None
            found.append((label, contrast.pair(row, without)))
    return found


def _kept(manifest: Mapping[str, Any]) -> float | None:
    """The share of a training that is left in the linears, if its manifest says so."""
    told = manifest.get("claims", {}).get("training", {}).get("survives")
    return None if told is None else float(told["kept"])


def needed(rows: Sequence[str], known: Mapping[str, Token]) -> list[str]:
    """The rows, prefixes among them, that end in one of the trainings of these orders."""
    return [
        prefix
        for prefix in dict.fromkeys(p for row in rows for p in orderings.prefixes(row))
        if known[orderings.last(prefix)].trained
    ]


def teachers_part(
    rows: Sequence[str], available: Sequence[str], known: Mapping[str, Token]
) -> list[Labelled]:
    """Each simple effect of orders with a teacher, less that of the orders without one.

    Args:
        rows: orders of the same stages.
        available: the rows that can be compared.
        known: the stages.
    """
    stages = set(orderings.stages_of(rows[0])) if rows else set()
    kinds = {token: its.kind for token, its in known.items()}
    found: list[Labelled] = []
    for why, token, control in controls.twins(known):
        if token not in stages or why == controls.RECOVERY:
            continue
        other = {row: orderings.replaced(row, token, control) for row in rows}
        if not set(other.values()) <= set(available):
            continue
        for label, coefficients in simple_effects.asked(rows, kinds):
            twin = {other[row]: c for row, c in coefficients.items()}
            named = {**label, "teaches": token, "control": control}
            found.append((named, contrast.less(coefficients, twin)))
    return found
