"""Find control arms and grids by the stages' settings, not by their names.

A control differs from its twin stage in one thing: P without recovery (the same method and
settings, no training steps), KD with alpha 0 (no teacher), FT (no teacher, as many conversations
as KD). Wherever the study has a row and the same row with the twin in its place, the two are
compared. A missing comparison is reported as not in this study.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np

from compression_order import methods, orderings
from compression_order.common import declare
from compression_order.common.declare import Role
from compression_order.findings.comparisons import Labelled
from compression_order.findings.listing import Numbers
from compression_order.results.guards import Records
from compression_order.statistics import contrast

RECOVERY = "recovery"  # what a pruning without training leaves out
UNKNOWN = "unknown"  # kind of a method that this version does not know


@dataclass(frozen=True)
class Token:
    """A stage as its manifests record it."""

    token: str
    kind: str
    method: str
    settings: Mapping[str, Any]

    @property
    def trained(self) -> int:
        """Conversations that its training reads, repeats counted; 0 without training."""
        return sum(
            its["steps"] * its.get("batch_size", 1) * its.get("accumulation", 1)
            for its in self.settings.values()
            if isinstance(its, Mapping) and "steps" in its
        )

    @property
    def untrained(self) -> dict[str, Any]:
        """Its settings without those of training."""
        return {
            key: value
            for key, value in self.settings.items()
            if not (isinstance(value, Mapping) and "steps" in value)
        }

    @property
    def strength(self) -> tuple[Any, ...]:
        """Its pruning ratio, or its quantization method."""
        return (self.method, *(str(self.settings.get(key)) for key in self._with(Role.STRENGTH)))

    @property
    def teachless(self) -> dict[str, Any]:
        """The settings of a distillation that do not concern its teacher."""
        taught = self._with(Role.TEACHING)
        return {key: value for key, value in self.settings.items() if key not in taught}

    @property
    def teaches_itself(self) -> bool:
        """Whether it distils base from base, by the divergence alone."""
        alone = self.kind == "distill" and self.settings.get("alpha") == 1
        return alone and self.settings.get("teacher") == orderings.BASE

    def _with(self, role: Role) -> list[str]:
        if self.kind == UNKNOWN:
            return []
        return declare.with_role(methods.settings(self.method), role)


def tokens(records: Records) -> dict[str, Token]:
    """Every stage of the study, read from the first manifest that ends in it."""
    found: dict[str, Token] = {}
    for pipeline, replicates in records.items():
        if pipeline != orderings.BASE:
            manifest, token = replicates[0].checkpoint, orderings.last(pipeline)
            method = str(manifest.get("method"))
            known = method in methods.REGISTRY
            kind = methods.settings(method).kind if known else UNKNOWN
            found.setdefault(token, Token(token, kind, method, manifest.get("settings") or {}))
    return found


def budget(row: str, known: Mapping[str, Token]) -> int:
    """Conversations that all trainings of a row read."""
    return sum(known[token].trained for token in orderings.split(row) if token in known)


def trained_tokens(row: str, records: Records) -> int:
    """Tokens counted in the losses of all trainings of a row, from its manifests."""
    total = 0
    for prefix in orderings.prefixes(row) if row != orderings.BASE else []:
        claims = records[prefix][0].checkpoint.get("claims", {}) if prefix in records else {}
        total += sum(int(its["tokens"]) for its in claims.values() if _is_training(its))
    return total


def _is_training(claim: Any) -> bool:
    return isinstance(claim, Mapping) and {"steps", "tokens"} <= claim.keys()


def twins(known: Mapping[str, Token]) -> Iterator[tuple[str, str, str]]:
    """Triples: what the control leaves out, the token with it, the control."""
    for token in known.values():
        for other in known.values():
            why = _control(token, other)
            if why:
                yield why, token.token, other.token


def _control(token: Token, other: Token) -> str | None:
    """What `other` leaves out of `token`, if `other` is its control."""
    same = (token.kind, token.method) == (other.kind, other.method)
    if same and token.kind == "prune" and token.trained and not other.trained:
        return RECOVERY if token.untrained == other.untrained else None
    if token.kind != "distill" or not token.settings.get("alpha"):
        return None
    if same and other.settings.get("alpha") == 0 and token.teachless == other.teachless:
        return "teacher (alpha 0)"
    if other.kind == "finetune" and token.trained == other.trained:
        return f"teacher (fine-tuning, {other.method})"
    return None


def asked(rows: Sequence[str], known: Mapping[str, Token]) -> list[Labelled]:
    """Ratios of every row over the same row with a control in place of its twin."""
    family: list[Labelled] = []
    there = set(rows)
    for leaves_out, token, control in twins(known):
        for row in rows:
            parts = orderings.split(row)
            other = orderings.replaced(row, token, control)
            if token in parts and other in there:
                family.append(_compared(leaves_out, row, other, known))
    for row in rows:
        # base that teaches itself: whatever follows must be as if it had not been there
        first, *rest = orderings.split(row) or [""]
        other = orderings.join(rest)
        if first in known and known[first].teaches_itself and other in there:
            family.append(_compared("a teacher that knows nothing new", row, other, known))
    return family


def _compared(leaves_out: str, row: str, other: str, known: Mapping[str, Token]) -> Labelled:
    label = {"leaves_out": leaves_out, "with": row, "control": other}
    budgets = [budget(row, known), budget(other, known)]
    return {**label, "conversations": budgets}, contrast.pair(row, other)


def equal_budget(rows: Sequence[str], known: Mapping[str, Token]) -> Numbers:
    """Pairs of different stages with equal compression, in the same order, and equal budget.

    Returns:
        The numbers of their first and second rows, [2, pairs], in the order of the rows.
    """
    steps = {token: _compression(its) for token, its in known.items()}
    alike: dict[Any, dict[tuple[str, ...], list[int]]] = {}
    for nth, row in enumerate(rows):
        spent = budget(row, known)
        if spent:
            compressed = tuple(s for token in orderings.split(row) if (s := steps.get(token)))
            sets = alike.setdefault((spent, compressed), {})
            sets.setdefault(orderings.stages_of(row), []).append(nth)
    found = [
        (min(pair), max(pair))
        for sets in alike.values()
        for one, other in combinations(sets.values(), 2)
        for pair in product(one, other)
    ]
    return np.array(sorted(found), dtype=np.intp).reshape(-1, 2).T


def _compression(token: Token) -> str:
    """What a stage compresses, and how; nothing for a training."""
    return f"{token.method} {token.untrained}" if token.kind in ("prune", "quantize") else ""


def grid(rows: Sequence[str], known: Mapping[str, Token]) -> list[tuple[str, str]]:
    """(X, Y) of a grid of strengths: prunings by quantizations with both orders and both alone.

    None where neither stage comes in several strengths.
    """
    prunings = [t for t in known.values() if t.kind == "prune"]
    quantizations = [t for t in known.values() if t.kind == "quantize"]
    there = set(rows)
    cells = [
        (p.token, q.token)
        for p in prunings
        for q in quantizations
        if {p.token, q.token, f"{p.token}-{q.token}", f"{q.token}-{p.token}"} <= there
    ]
    strengths = {(known[p].strength, known[q].strength) for p, q in cells}
    return cells if len(strengths) > 1 else []


def weaker(cells: Sequence[tuple[str, str]]) -> list[Labelled]:
    """Contrasts of each grid cell: the two stages alone, and their two orders."""
    family: list[Labelled] = []
    for x, y in cells:
        label = {"prune": x, "quantize": y}
        family.append(({**label, "compares": "alone"}, contrast.pair(x, y)))
        orders = contrast.pair(f"{x}-{y}", f"{y}-{x}")
        family.append(({**label, "compares": "orders"}, orders))
    return family


def weaker_first(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Whether the order that begins with the weaker stage is better, cell by cell.

    Args:
        entries: of the family of `weaker`, tested.
    """
    found = []
    for alone, orders in zip(entries[::2], entries[1::2], strict=True):
        prune_weaker, prune_first_better = alone["log_ratio"] < 0, orders["log_ratio"] < 0
        found.append(
            {
                "prune": alone["prune"],
                "quantize": alone["quantize"],
                "weaker": alone["prune"] if prune_weaker else alone["quantize"],
                "weaker_is_certain": alone["separable"],
                "weaker_first_is_better": prune_weaker == prune_first_better,
                "orders_separable": orders["separable"],
            }
        )
    return found
