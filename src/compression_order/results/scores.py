"""Our side of a comparison: one score per pipeline, with bootstrap draws paired over pipelines.

A score is a mean over units (documents or windows of a text, questions of the question sets).
Its uncertainty is that of the sample: the units are resampled with replacement, the same ones for
every pipeline. Any statistic of several pipelines (a difference, a minimum, a ranking) can thus be
computed in every draw. The draws do not contain the spread over seeds; the scores of the single
seeds show it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from compression_order import orderings
from compression_order.common.errors import HarnessError
from compression_order.common.writing import MISSING
from compression_order.orderings import Rows
from compression_order.results import checks, guards
from compression_order.results.claims import Measure
from compression_order.results.guards import Records
from compression_order.results.records import Record
from compression_order.statistics import paired
from compression_order.statistics.estimates import Sample
from compression_order.statistics.paired import Array


@dataclass(frozen=True)
class Scores:
    """Scores of the pipelines of one arm.

    Attributes:
        title: what was measured, on what.
        what: the same in a word.
        is_log: whether a score is a logarithm, so that a difference is told as a factor.
        units: how many units were drawn from.
        seeds: pipeline -> score of each seed, [seeds].
        draws: pipeline -> mean over seeds in each draw, [draws].
        sample: pipeline -> what was scored, unit by unit; None: single units are not known.
        left_out: pipeline -> why it has no score.
        remark: note for the reader about the measure, or empty.
    """

    title: str
    what: str
    is_log: bool
    units: int
    seeds: Mapping[str, Array]
    draws: Mapping[str, Array]
    sample: Sample | None
    left_out: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""

    def value(self, pipeline: str) -> float:
        """The score, the mean over seeds."""
        return float(self.seeds[pipeline].mean())

    def interval(self, statistic: Callable[[Mapping[str, Array]], Array]) -> tuple[float, float]:
        """95% interval of a statistic of the scores, computed in every draw."""
        return paired.expanded_interval(statistic(self.draws), self.units)


def standing_for(
    measure: Measure, rows: Rows, records: Records, cells: Sequence[Mapping[str, str]]
) -> Scores | str:
    """Our scores for a published measure, or why there are none."""
    if measure.kind == "quality":
        if measure.metric in records[orderings.BASE][0].judged:
            return verdicts(measure.metric, rows, records)
        if measure.metric in cells[0]:
            return judged(measure, rows, cells)
        tasks = records[orderings.BASE][0].tasks
        named = [task for task in measure.ours if task in tasks]
        wanted = named or [task for task in measure.instead if task in tasks]
        return accuracy(rows, records, wanted or None)
    base = records[orderings.BASE][0]
    named = [text for text in measure.ours if text in base.perplexity]
    text = next(iter(named), primary_text(base))
    return perplexity(rows, records, text) if text else "no text was scored"


def verdicts(metric: str, rows: Rows, records: Records) -> Scores:
    """The verdicts of the study's judge, paired over the answers."""
    left_out = unfit(rows, records)
    found = {
        name: np.array([record.judged[metric].scores for record in records[row]])
        for name, row in rows.items()
        if name not in left_out
    }
    answers = len(records[orderings.BASE][0].judged[metric].scores)
    means = paired.bootstrap_means([v.mean(axis=0) for v in found.values()], np.ones(answers))
    return Scores(
        title=f"{metric} ({answers} answers)",
        what=metric,
        is_log=False,
        units=answers,
        seeds={name: v.mean(axis=1) for name, v in found.items()},
        draws=dict(zip(found, means, strict=True)),
        sample=_sample(metric, found, np.ones(answers)),
        left_out=left_out,
    )


def judged(measure: Measure, rows: Rows, cells: Sequence[Mapping[str, str]]) -> Scores:
    """Judged scores of the table; without those of single answers they have no interval.

    Raises:
        HarnessError: a cell is not a number.
    """
    found = {cell["pipeline"]: cell[measure.metric] for cell in cells}
    values = {
        name: np.array([_number(found[row], measure.metric, row)])
        for name, row in rows.items()
        if found[row] != MISSING
    }
    return Scores(
        title=f"{measure.metric} of table.csv",
        what=measure.metric,
        is_log=False,
        units=0,
        seeds=values,
        draws=values,
        sample=None,
        left_out={name: "not judged" for name in rows if name not in values},
        remark=f"table.csv has {measure.metric} but not the scores of single answers",
    )


def _number(cell: str, column: str, row: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise HarnessError(
            f"table.csv: {column} of {row} is {cell!r}, not a number; make the table again"
        ) from None


def primary_text(base: Record) -> str | None:
    """The text that claims are tested on: the first scored by documents, else the first."""
    documents = [t for t, entry in base.perplexity.items() if entry.protocol == "documents"]
    return next(iter([*documents, *base.perplexity]), None)


def perplexity(rows: Rows, records: Records, text: str) -> Scores:
    """Log perplexities on one text.

    Args:
        rows: published pipeline -> row.
        records: of the rows that can exist.
        text: a text that base was scored on.
    """
    entry = records[orderings.BASE][0].perplexity[text]
    reasons = unfit(rows, records)
    losses, left_out = dict[str, Array](), dict[str, str]()
    for name, row in rows.items():
        why = reasons.get(name)
        values = [] if why else [record.perplexity[text].losses for record in records[row]]
        if not why and not np.isfinite(values).all():
            why = "its perplexity is not finite"
        if why:
            left_out[name] = why
        else:
            losses[name] = np.array(values)
    means = paired.bootstrap_means([v.mean(axis=0) for v in losses.values()], entry.weights)
    return Scores(
        title=f"perplexity on {text} ({len(entry.losses)} {entry.unit})",
        what="perplexity",
        is_log=True,
        units=len(entry.losses),
        seeds={name: v @ entry.weights / entry.weights.sum() for name, v in losses.items()},
        draws=dict(zip(losses, means, strict=True)),
        sample=_sample(text, losses, entry.weights),
        left_out=left_out,
    )


def _sample(name: str, units: Mapping[str, Array], weights: Array) -> Sample:
    """What was scored, for the errors of differences; [seeds, units] of each pipeline."""
    return Sample(name, f"{len(weights)} units", units, weights, 1.0, {})


def unfit(rows: Rows, records: Records) -> dict[str, str]:
    """Pipelines that cannot be compared on anything, each with the reason.

    Args:
        rows: published pipeline -> row.
        records: of the rows that can exist.
    """
    copied = guards.copies(records)
    refused = {name: "it is refused" for name, row in rows.items() if row not in records}
    return refused | {name: copied[row] for name, row in rows.items() if row in copied}


def accuracy(rows: Rows, records: Records, wanted: Sequence[str] | None = None) -> Scores | str:
    """Mean accuracy over the question sets that can tell pipelines apart.

    A set cannot rank pipelines if base is not above chance at 95%, or if a guard finds the answers
    of any row degenerate; it is left out.

    Args:
        rows: published pipeline -> row.
        records: of the rows that can exist.
        wanted: the question sets asked for; None: all.

    Returns:
        The scores, or why there are none.
    """
    left_out = unfit(rows, records)
    fit = {name: records[row] for name, row in rows.items() if name not in left_out}
    asked = [t for t in records[orderings.BASE][0].tasks if wanted is None or t in wanted]
    unfit_sets = {task: why for task in asked if (why := useless(task, fit))}
    tasks = [task for task in asked if task not in unfit_sets]
    reasons = "; ".join(f"{task}: {why}" for task, why in unfit_sets.items())
    if not tasks:
        return f"no question set can rank these rows ({reasons or 'none was asked'})"
    parts = {task: _right(task, fit) for task in tasks}  # [rows, seeds, questions]
    weights = [np.ones(part.shape[2]) for part in parts.values()]
    draws = np.mean(
        [
            paired.bootstrap_means(part.mean(axis=1), w, seed=nth)
            for nth, (part, w) in enumerate(zip(parts.values(), weights, strict=True))
        ],
        axis=0,
    )
    values = np.mean([part.mean(axis=2) for part in parts.values()], axis=0)
    questions = [part.shape[2] for part in parts.values()]
    # every set counts alike, and so does every question of one
    asked_all = np.concatenate(list(parts.values()), axis=2)
    each = np.concatenate([np.full(count, 1 / count) for count in questions])
    return Scores(
        title=f"mean accuracy over {', '.join(tasks)} ({sum(questions)} questions)",
        what="accuracy",
        is_log=False,
        units=min(questions),
        seeds=dict(zip(fit, values, strict=True)),
        draws=dict(zip(fit, draws, strict=True)),
        sample=_sample("accuracy", dict(zip(fit, asked_all, strict=True)), each),
        left_out=left_out,
        remark=f"not used: {reasons}" if reasons else "",
    )


def _right(task: str, fit: Mapping[str, Sequence[Record]]) -> Array:
    """What is right, [rows, seeds, questions]."""
    return np.array([[r.tasks[task].correct for r in records] for records in fit.values()])


def useless(task: str, fit: Mapping[str, Sequence[Record]]) -> str | None:
    """Why a question set cannot rank these rows, or None."""
    base = fit[orderings.BASE][0].tasks[task]
    right, samples = float(base.correct.sum()), len(base.correct)
    if base.graded:
        mean = paired.mean_se(base.correct)
        low = mean.value - paired.Z_95 * mean.se
    else:
        low = float(paired.binomial_interval(round(right), samples)[0])
    if low <= base.chance:
        return f"base, {base.value:.3f}, is not above chance, {base.chance:.3f}, at 95%"
    degenerate = list(_degenerate(task, fit))
    shown = ", ".join(degenerate[:3]) + (", ..." if len(degenerate) > 3 else "")
    return f"degenerate answers of {shown}" if degenerate else None


def _degenerate(task: str, fit: Mapping[str, Sequence[Record]]) -> Iterator[str]:
    for name, records in fit.items():
        if any([*checks.answers(task, record.tasks[task])] for record in records):
            yield name
