"""Summarize a finished study for the terminal: the table, three findings and one line of cost.

The findings are about orders at full compression: the orders of the most stages, each once. They
are compared on the first text with the `documents` protocol (the chat set), else on the first
text. One seed can separate orders on this sample of text, not over training runs; findings.md
says which differences are real.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from compression_order import orderings
from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.common.writing import MISSING, count
from compression_order.results import cards, published, stored_table
from compression_order.results.guards import Records
from compression_order.statistics import contrast, estimates, multiplicity, paired
from compression_order.statistics.estimates import Sample

WIDTH = 120  # columns of the terminal


@dataclass(frozen=True)
class Ranking:
    """The full orders that can be compared on one text, lowest perplexity first."""

    text: str
    units: str
    names: tuple[str, ...]
    losses: Mapping[str, paired.Array]  # pipeline -> [seeds, units]
    weights: paired.Array
    left_out: tuple[str, ...] = ()  # refused, or a loss that is not finite

    def ratio(self, pipeline: str, reference: str) -> paired.Estimate:
        """Perplexity ratio with its paired standard error."""
        return paired.ratio(self.losses[pipeline], self.losses[reference], self.weights)

    def z(self, pipeline: str, reference: str) -> float:
        """Paired z over text, positive where `pipeline` has the higher perplexity."""
        return paired.z(self.losses[pipeline], self.losses[reference], self.weights)

    def separable(self, pipeline: str, reference: str) -> bool:
        """Separable as in findings.md: also over seeds, and corrected for the number of pairs."""
        losses = {name: self.losses[name] for name in self.names}
        sample = Sample(self.text, self.units, losses, self.weights, 0, {})
        asked = estimates.matrix(self.names, [contrast.pair(pipeline, reference)])
        effect = estimates.contrasts(sample, asked, estimates.pooled(sample.seed_means))
        return bool(effect.p[0] * self.pairs <= multiplicity.ALPHA)

    @property
    def pairs(self) -> int:
        """How many pairs of orders there are."""
        return math.comb(len(self.names), 2)


def read_table(path: Path) -> pd.DataFrame:
    """table.csv with every cell as text."""
    return pd.DataFrame(stored_table.read(path), dtype=str)


def arms(cells: pd.DataFrame) -> dict[str, list[str]]:
    """The rows of every arm; a study without arms is one, without a name."""
    if "arm" not in cells:
        return {"": list(cells["pipeline"])}
    named = [name.split() for name in cells["arm"]]
    return {
        arm: [row for row, its in zip(cells["pipeline"], named, strict=True) if arm in its]
        for arm in dict.fromkeys(arm for its in named for arm in its)
    }


def compact(cells: pd.DataFrame) -> str:
    """Format the table in as many blocks as the width of the terminal requires.

    A column that is n/a in every row is left out.
    """
    found = {}
    for name in cells.columns:
        card = cards.of_column(name)
        if card and card.shown and any(cells[name] != MISSING):
            found[card.shown.terminal] = [card.shown.text(cell) for cell in cells[name]]
    shown = pd.DataFrame(found).set_index("pipeline").rename_axis(None)
    return str(shown.to_string(line_width=WIDTH))


def notes(cells: pd.DataFrame) -> Iterator[str]:
    """One line for each row that is not simply ok."""
    for pipeline, note in zip(cells["pipeline"], cells["note"], strict=True):
        if note != "ok":
            yield f"note: {pipeline}: {note}"


def full_orders(rows: Sequence[str], records: Records) -> Ranking:
    """The comparable orders; refused and non-finite rows cannot be compared."""
    entries = records[orderings.BASE][0].perplexity
    if not entries:
        raise HarnessError("no perplexity was measured on base; add a text to the study")
    documents = [text for text, entry in entries.items() if entry.protocol == "documents"]
    text = documents[0] if documents else next(iter(entries))
    losses = {
        pipeline: np.array([record.perplexity[text].losses for record in records[pipeline]])
        for pipeline in permutations_of_all(rows)
        if pipeline in records
    }
    finite = {pipeline: values for pipeline, values in losses.items() if np.isfinite(values).all()}
    weights, base = entries[text].weights, losses_of_base(records, text)
    names = sorted(finite, key=lambda name: paired.ratio(finite[name], base, weights).value)
    units = f"{len(weights)} {entries[text].protocol}"
    left_out = tuple(p for p in permutations_of_all(rows) if p not in finite)
    return Ranking(text, units, tuple(names), finite, weights, left_out)


def losses_of_base(records: Records, text: str) -> paired.Array:
    """Base's losses, [seeds, units]."""
    return np.array([base.perplexity[text].losses for base in records[orderings.BASE]])


def permutations_of_all(pipelines: Sequence[str]) -> list[str]:
    """The orders of the largest set of stages that has several orders, each stage once.

    Control arms have stages of their own and do not affect these orders.
    """
    tokens = {pipeline: orderings.split(pipeline) for pipeline in pipelines}
    once = [p for p, its in tokens.items() if len(set(its)) == len(its)]
    found = orderings.full_orders(once)
    return list(max(found, key=lambda orders: len(orders.stages)).rows) if found else []


def best(orders: Ranking) -> str:
    """The order of lowest perplexity, and whether the second best is separable from it."""
    if len(orders.names) < 2:
        return "not testable in this study, fewer than two orders have every stage"
    first, second = orders.names[:2]
    score = orders.z(second, first)
    verdict = "separable" if orders.separable(second, first) else "not separable"
    factor = orders.ratio(second, first)
    without = f"; not compared, see the notes: {', '.join(orders.left_out)}"
    return (
        f"{first}; the second best, {second}, has {factor.value:.4f} ± {factor.se:.4f} times its "
        f"{orders.text} perplexity (paired z {score:.1f} over {orders.units}): {verdict} at 95% "
        f"among {count(orders.pairs, 'pair')}{without if orders.left_out else ''}"
    )


def spread(orders: Ranking) -> str:
    """Worst over best order, with the standard error of its logarithm."""
    if len(orders.names) < 2:
        return "not testable in this study, fewer than two orders have every stage"
    low, high = orders.names[0], orders.names[-1]
    log = paired.log_ratio(orders.losses[high], orders.losses[low], orders.weights)
    return (
        f"{orders.ratio(high, low).value:.3f}x in {orders.text} perplexity ({high} over {low}; "
        f"log ratio {log.value:.4f} ± {log.se:.4f}, paired)"
    )


def split(
    orders: Ranking, q_first: Mapping[str, bool | None], figures: published.Published | None
) -> str:
    """Whether quantizing before pruning is worse, and by the published size.

    The factor is the lowest perplexity of the orders with Q before P over the highest of the
    others. The split `appears` where the groups do not overlap, that pair is
    separable, and the factor is at least the square root of the published one (half the
    published effect on the log scale); otherwise the sentence says which of these fails.
    """
    early, late = groups(orders.names, q_first)
    if not early or not late:
        return "not testable in this study, it has no full orders with Q before P and after P"
    low, high = early[0], late[-1]
    factor = orders.ratio(low, high).value
    theirs = published_factor(figures)
    beside = f"published: {theirs:.2f}x" if theirs else "published: n/a"
    here = f"lowest with Q before P, {low}, is {factor:.3f}x the highest of the others, {high}"
    if factor <= 1:
        verdict = "does not appear, the two groups overlap"
    elif not orders.separable(low, high):
        verdict = "does not appear, the two groups are in that order but not separable"
    elif theirs and factor < math.sqrt(theirs):
        verdict = "does not appear as a collapse, the groups are only in that order"
    else:
        verdict = f"appears by a factor of {factor:.2f}"
    return f"{verdict}; {here} ({orders.text}); {beside}"


def groups(
    pipelines: Sequence[str], q_first: Mapping[str, bool | None]
) -> tuple[list[str], list[str]]:
    """The pipelines with Q before P and those with Q after P, each in the order given."""
    early = [p for p in pipelines if q_first[p] is True]
    late = [p for p in pipelines if q_first[p] is False]
    return early, late


def q_first(cells: pd.DataFrame) -> dict[str, bool | None]:
    """Which rows have Q before P, as the table says; None without both."""
    told = {"yes": True, "no": False}
    return {
        row: told.get(cell)
        for row, cell in zip(cells["pipeline"], cells["q_before_p"], strict=True)
    }


def published_factor(figures: published.Published | None) -> float | None:
    """Lowest published perplexity with Q before P over the highest with Q after P."""
    if figures is None:
        return None
    values = {p: figures.value(p, "perplexity") for p in permutations_of_all(list(figures.figures))}
    known = {p: value for p, value in values.items() if value is not None}
    # published pipelines have the names P, KD and Q
    early, late = groups(list(known), {p: orderings.before(p, "Q", "P") for p in known})
    if not early or not late:
        return None
    return min(known[p] for p in early) / max(known[p] for p in late)


def overhead(results: Path) -> str:
    """Share of all process seconds that went into starting, importing and loading models."""
    paths = sorted([*results.glob("seed*/costs/**/*.json"), *results.glob("costs/**/*.json")])
    records = [files.read_json(path) for path in paths]
    for path, record in zip(paths, records, strict=True):
        missing = {"startup_s", "load_s", "wall_s"} - set(record)
        if missing:
            raise HarnessError(f"{path} has no {', '.join(sorted(missing))}; delete it")
    wall = sum(record["wall_s"] for record in records)
    if not wall:
        return "no cost records under the results"
    lost = sum(record["startup_s"] + record["load_s"] for record in records)
    return f"{lost / wall:.1%} of {wall:.0f} process seconds in {len(records)} processes"


def told(
    study: str,
    cells: pd.DataFrame,
    records: Records,
    figures: published.Published | None,
    results: Path,
) -> Iterator[str]:
    """The lines of the summary.

    Args:
        study: its name.
        cells: table.csv as text.
        records: of the rows that can exist.
        figures: of the published study, if the study names one.
        results: folder results/<study>.
    """
    yield f"\n{study}\n\n{compact(cells)}\n"
    yield from notes(cells)
    for arm, rows in arms(cells).items():
        orders = full_orders(rows, records)
        if arm:
            yield f"Arm {arm}:"
        yield f"Best order at full compression: {best(orders)}."
        yield f"Spread between orders at full compression: {spread(orders)}."
        yield f"Published split (Q before P collapses): {split(orders, q_first(cells), figures)}."
    yield f"Process start, imports and loading: {overhead(results)}."
