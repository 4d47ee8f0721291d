"""Columns of the comparison table, one card per column; docs/add-a-metric.md says how to add one.

The cards define table.csv, table.md, the summary in the terminal, changes.csv and the check of a
stored table. They also define how the evaluation files are read.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby

from compression_order import orderings
from compression_order.common.writing import MIB
from compression_order.judge.settings import METRICS
from compression_order.results import cells, checks, quantized_first
from compression_order.results.column import (
    PERCENT,
    POINTS,
    Card,
    Comparison,
    Place,
    Remark,
    Scored,
    Shown,
    Told,
    Value,
)
from compression_order.results.readings import (
    BYTES,
    PARAMETERS,
    QUESTIONS,
    TEXTS,
    VERDICTS,
    Distance,
    Source,
)

TEXT, TASK, JUDGED = "<text>", "<task>", "<judged>"
# placeholders in a name, and the source of the study's own names
FAMILIES: Mapping[str, Source] = {TEXT: TEXTS, TASK: QUESTIONS, JUDGED: VERDICTS}

_SD = "sample standard deviation over seeds (only with several seeds)"
_PREDICATE = "where it has both stages (yes, no)"
_KL = Distance("fidelity.json", "kl")
_KL_P99 = Distance("fidelity.json", "kl_p99")
_TOP1 = Distance("fidelity.json", "top1_agreement", known=1.0)


def _quantized_first(place: Place, wanted: Sequence[str]) -> Value:
    return {None: None, True: "yes", False: "no"}[
        quantized_first.holds(place.pipeline, wanted, place.kinds)
    ]


def _published(place: Place, metric: str) -> Value:
    """The usable published figure of the pipeline that the row stands for."""
    if place.figures is None or place.stands_for is None:
        return None
    return place.figures.value(place.stands_for, metric)


CARDS: tuple[Card, ...] = (
    Told(
        "pipeline", "", None, "stages in order; base has none",
        Shown("pipeline"), cell=lambda place: place.pipeline,
    ),
    Told(
        "arm", "", None, "arms of the study that the pipeline belongs to (only with arms)",
        Shown("arm"), cell=lambda place: " ".join(place.arms),
    ),
    Told(
        "stages", "", 0, "number of stages",
        cell=lambda place: len(orderings.split(place.pipeline)),
    ),
    Scored(
        "size_mib", "MiB", 2, "bytes of the model file on disk / 2^20", Shown("MiB", 1),
        source=BYTES, cell=cells.mean_per(MIB),
        comparison=Comparison(PERCENT, cells.relative(MIB)),
    ),
    Scored(
        "compression_ratio", "x", 4, "bytes of base / bytes of the row", Shown("ratio", 2),
        source=BYTES, cell=cells.smaller_than_base,
    ),
    Scored(
        "parameters", "", 0, "parameters, a tied embedding counted once",
        Shown("params, M", 1, 1e-6), source=PARAMETERS, cell=cells.mean,
    ),
    Scored(
        "ppl_<text>", "", 4, "perplexity; its protocol is in perplexity.json",
        Shown("ppl <text>", 2), source=TEXTS, cell=cells.mean, guard=checks.finite,
        comparison=Comparison(PERCENT, cells.relative_perplexity),
    ),
    Scored("ppl_<text>_sd", "", 4, _SD, source=TEXTS, cell=cells.spread, spread=True),
    Scored(
        "ppl_<text>_ratio", "x", 5, "perplexity / perplexity of base at the same seed",
        Shown("ppl <text> ratio", 3, within=True), source=TEXTS, cell=cells.over_base,
    ),
    Scored(
        "ppl_<text>_ratio_se", "x", 5, "paired standard error of the ratio (delta method)",
        source=TEXTS, cell=cells.over_base_se,
    ),
    Scored(
        "kl", "nats/token", 5, "mean KL(base || row) on held-out text", Shown("KL", 3),
        source=_KL, cell=cells.mean, guard=checks.finite,
    ),
    Scored("kl_sd", "nats/token", 5, _SD, source=_KL, cell=cells.spread, spread=True),
    Scored(
        "kl_p99", "nats/token", 4, "99th percentile of that KL over tokens",
        source=_KL_P99, cell=cells.mean,
    ),
    Scored(
        "top1", "0..1", 4, "share of tokens where base and row put the same token first",
        Shown("top-1", 3), source=_TOP1, cell=cells.mean, guard=checks.finite,
    ),
    Scored(
        "acc_<task>", "0..1", 4, "accuracy", Shown("<task>, %", 1, 100.0),
        source=QUESTIONS, cell=cells.right, guard=checks.answers,
        comparison=Comparison(POINTS, cells.points, in_percent=True),
    ),
    Scored("acc_<task>_sd", "0..1", 4, _SD, source=QUESTIONS, cell=cells.spread, spread=True),
    Scored(
        "acc_<task>_se", "0..1", 4, "standard error over questions",
        source=QUESTIONS, cell=cells.right_se,
    ),
    Scored(
        "<judged>", "0..1", 4,
        "g_eval, prompt_alignment, clarity: mean verdict of the study's judge (only with a judge)",
        Shown("<judged>", 3), source=VERDICTS, cell=cells.verdict, guard=checks.verdicts,
    ),
    Scored("<judged>_sd", "0..1", 4, _SD, source=VERDICTS, cell=cells.spread, spread=True),
    Scored(
        "<judged>_se", "0..1", 4, "standard error over answers",
        source=VERDICTS, cell=cells.verdict_se,
    ),
    Told(
        "q_before_p", "", None, f"whether the pipeline prunes after it quantizes, {_PREDICATE}",
        Shown("Q before P"),
        cell=lambda place: _quantized_first(place, quantized_first.PRUNING),
    ),
    Told(
        "q_before_kd", "", None,
        f"whether it trains (distills or fine-tunes) after it quantizes, {_PREDICATE}",
        Shown("Q before KD"),
        cell=lambda place: _quantized_first(place, quantized_first.TRAINING),
    ),
    Remark(
        "published_size_mib", "MiB", 0, "size in the published study",
        Shown("published MiB", 0), cell=lambda place: _published(place, "size"),
    ),
    Remark(
        "published_compression_ratio", "x", 2, "compression ratio in the published study",
        cell=lambda place: _published(place, "compression_ratio"),
    ),
    Remark(
        "published_perplexity", "", 2, "perplexity in the published study, on its own text",
        Shown("published ppl", 2), cell=lambda place: _published(place, "perplexity"),
    ),
    Remark(
        "published_g_eval", "0..1", 3, "judged correctness in the published study",
        cell=lambda place: _published(place, "g_eval"),
    ),
    Remark(
        "note", "", None, "ok, why the cell is refused, or what a guard found",
        cell=lambda place: place.note,
    ),
)  # fmt: skip


def sources(judged: bool) -> list[Source]:
    """Every source that the cards read for a row, each once; verdicts only with a judge."""
    found = dict.fromkeys(card.source for card in CARDS if isinstance(card, Scored))
    return [source for source in found if judged or source != VERDICTS]


def _family(card: Card) -> str:
    """The placeholder in its name, `<text>`, `<task>` or `<judged>`, or nothing."""
    return next((name for name in FAMILIES if name in card.name), "")


def columns(parts: Mapping[str, Sequence[str]], several_seeds: bool) -> Iterator[Card]:
    """The cards written out, one text, question set or metric after another.

    Args:
        parts: what `<text>`, `<task>` and `<judged>` stand for in the study.
        several_seeds: whether there is a spread over seeds.
    """
    for name, its in groupby(CARDS, _family):
        wanted = [
            card for card in its if several_seeds or not (isinstance(card, Scored) and card.spread)
        ]
        if not name:
            yield from wanted
        for part in parts[name] if name else ():
            yield from (card.written_out(name, part) for card in wanted)


def of_column(column: str) -> Card | None:
    """The card of a column of a stored table, or None."""
    found = list(_fitting(column))
    return max(found, key=lambda its: its[0])[1] if found else None


def _fitting(column: str) -> Iterator[tuple[int, Card]]:
    """Every card that fits the name, with the number of letters outside the placeholder."""
    for card in CARDS:
        name = _family(card)
        begin, _, end = card.name.partition(name) if name else (card.name, "", "")
        part = column.removeprefix(begin).removesuffix(end)
        fits = column == f"{begin}{part}{end}" and bool(part) == bool(name)
        if fits and (name != JUDGED or part in METRICS):
            yield len(begin + end), card.written_out(name, part) if name else card


def parts_of(readings: Mapping[Source, Mapping[str, object]]) -> dict[str, list[str]]:
    """The values of `<text>`, `<task>` and `<judged>` in these readings."""
    found = {name: list(readings.get(source, {})) for name, source in FAMILIES.items()}
    return {**found, JUDGED: [metric for metric in METRICS if metric in found[JUDGED]]}


def of_readings(readings: Mapping[Source, Mapping[str, object]]) -> tuple[Scored, ...]:
    """The cards that these readings fill, written out."""
    parts = tuple((name, tuple(its)) for name, its in parts_of(readings).items())
    return _scored(parts, tuple(CARDS))


@cache  # the readings of all rows of a study have the same parts
def _scored(
    parts: tuple[tuple[str, tuple[str, ...]], ...], cards: tuple[Card, ...]
) -> tuple[Scored, ...]:
    """`cards`: all of them, so that another list of cards is another question."""
    written = columns(dict(parts), several_seeds=True)
    return tuple(card for card in written if isinstance(card, Scored))


def is_of_texts_or_tasks(column: str) -> bool:
    """Whether a column belongs to a text or a question set."""
    card = of_column(column)
    return isinstance(card, Scored) and card.source in (TEXTS, QUESTIONS)
