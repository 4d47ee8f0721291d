"""The comparison table of a study: its columns, its cells and its guards.

One registry names every column with its unit, decimals and meaning. What does not exist is
`n/a` (pandas reads it as NaN), and what is suspicious is named in `note`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from compression_order import orderings
from compression_order.common.errors import HarnessError
from compression_order.common.writing import MIB, csv_text, show
from compression_order.judge.settings import METRICS
from compression_order.results import guards
from compression_order.results.published import Published
from compression_order.results.records import Record
from compression_order.statistics import paired

Value = float | int | str | None
Row = dict[str, Value]


@dataclass(frozen=True)
class Column:
    """A column of table.csv; `digits` is None for text, `spread` marks several-seed columns."""

    name: str
    unit: str
    digits: int | None
    description: str
    spread: bool = False


_SD = "sample standard deviation over seeds (only with several seeds)"
_PREDICATE = "where it has both stages (yes, no)"
REGISTRY = (
    Column("pipeline", "", None, "stages in order; base has none"),
    Column("arm", "", None, "arms of the study that the pipeline belongs to (only with arms)"),
    Column("stages", "", 0, "number of stages"),
    Column("size_mib", "MiB", 2, "bytes of the model file on disk / 2^20"),
    Column("compression_ratio", "x", 4, "bytes of base / bytes of the row"),
    Column("parameters", "", 0, "parameters, a tied embedding counted once"),
    Column("ppl_<text>", "", 4, "perplexity; its protocol is in perplexity.json"),
    Column("ppl_<text>_sd", "", 4, _SD, spread=True),
    Column("ppl_<text>_ratio", "x", 5, "perplexity / perplexity of base at the same seed"),
    Column("ppl_<text>_ratio_se", "x", 5, "paired standard error of the ratio (delta method)"),
    Column("kl", "nats/token", 5, "mean KL(base || row) on held-out text"),
    Column("kl_sd", "nats/token", 5, _SD, spread=True),
    Column("kl_p99", "nats/token", 4, "99th percentile of that KL over tokens"),
    Column("top1", "0..1", 4, "share of tokens where base and row put the same token first"),
    Column("acc_<task>", "0..1", 4, "accuracy"),
    Column("acc_<task>_sd", "0..1", 4, _SD, spread=True),
    Column("acc_<task>_se", "0..1", 4, "standard error over questions"),
    Column(
        "<judged>",
        "0..1",
        4,
        "g_eval, prompt_alignment, clarity: mean verdict of the study's judge (only with a judge)",
    ),
    Column("<judged>_sd", "0..1", 4, _SD, spread=True),
    Column("<judged>_se", "0..1", 4, "standard error over answers"),
    Column(
        "q_before_p", "", None, f"whether the pipeline quantizes before it prunes, {_PREDICATE}"
    ),
    Column("q_before_kd", "", None, f"whether it quantizes before it distills, {_PREDICATE}"),
    Column("published_size_mib", "MiB", 0, "size in the published study"),
    Column("published_compression_ratio", "x", 2, "compression ratio in the published study"),
    Column("published_perplexity", "", 2, "perplexity in the published study, on its own text"),
    Column("published_g_eval", "0..1", 3, "judged correctness in the published study"),
    Column("note", "", None, "ok, why the cell is refused, or what a guard found"),
)


@dataclass(frozen=True)
class Table:
    """Columns and rows of one study; cells are raw values, None where there is none."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    texts: tuple[str, ...]
    tasks: tuple[str, ...]
    judged: tuple[str, ...] = ()


def build(
    rows: Sequence[str],
    records: guards.Records,
    refused: Mapping[str, str],
    published: Published | None,
    arms: Mapping[str, Sequence[str]] | None = None,
) -> Table:
    """One row per pipeline, in the order given; refused pipelines have no records.

    `arms`: arm -> its pipelines, where the study has arms.
    """
    bases = records[orderings.BASE]
    findings = guards.findings(records)
    cells = []
    for pipeline in rows:
        row = _identity(pipeline) | _published(pipeline, published)
        row["arm"] = " ".join(arm for arm, its in (arms or {}).items() if pipeline in its)
        if pipeline in refused:
            row["note"] = f"refused: {refused[pipeline]}"
        else:
            row |= _measured(records[pipeline], bases)
            row["note"] = "; ".join(findings[pipeline]) or "ok"
        cells.append(row)
    texts, tasks, judged = (tuple(its) for its in _families(bases[0]).values())
    named = _columns(_families(bases[0]), len(bases) > 1)
    wanted = [c for c in named if arms or c.name != "arm"]
    return Table(tuple(wanted), tuple(cells), texts, tasks, judged)


def _families(base: Record) -> dict[str, list[str]]:
    """What a column of the registry may stand for."""
    return {
        "<text>": list(base.perplexity),
        "<task>": list(base.tasks),
        "<judged>": [metric for metric in METRICS if metric in base.judged],
    }


def to_csv(table: Table) -> str:
    """The table as CSV with fixed decimals and LF: equal tables give equal bytes."""
    header = [column.name for column in table.columns]
    cells = ([show(row.get(c.name), c.digits) for c in table.columns] for row in table.rows)
    return csv_text(header, cells)


def _columns(families: Mapping[str, Sequence[str]], several_seeds: bool) -> Iterator[Column]:
    """The registry with its families written out, one text, task or metric after another."""
    names = {**families, "": ("",)}
    for key, family in groupby(REGISTRY, lambda c: next(k for k in names if k in c.name)):
        wanted = [column for column in family if several_seeds or not column.spread]
        for name in names[key]:
            yield from (replace(c, name=c.name.replace(key or "<>", name)) for c in wanted)


def _identity(pipeline: str) -> Row:
    """What the name alone tells."""
    predicates = {None: None, True: "yes", False: "no"}
    return {
        "pipeline": pipeline,
        "stages": len(orderings.split(pipeline)),
        "q_before_p": predicates[orderings.before(pipeline, "Q", "P")],
        "q_before_kd": predicates[orderings.before(pipeline, "Q", "KD")],
    }


def _published(pipeline: str, published: Published | None) -> Row:
    """The usable published figures of the pipeline of the same name, variants aside."""
    if published is None:
        return {}
    pipeline = orderings.plain(pipeline)
    return {
        "published_size_mib": published.value(pipeline, "size"),
        "published_compression_ratio": published.value(pipeline, "compression_ratio"),
        "published_perplexity": published.value(pipeline, "perplexity"),
        "published_g_eval": published.value(pipeline, "g_eval"),
    }


def _measured(ours: Sequence[Record], bases: Sequence[Record]) -> Row:
    """The cells of one pipeline: means over its seeds, each paired with base at the same seed."""
    row: Row = {
        "size_mib": _mean([r.bytes / MIB for r in ours]),
        "compression_ratio": float(
            np.mean([b.bytes / r.bytes for r, b in zip(ours, bases, strict=True)])
        ),
        "parameters": _mean([r.parameters for r in ours]),
        "kl": _mean([r.fidelity.kl if r.fidelity else 0.0 for r in ours]),
        "kl_sd": _sd([r.fidelity.kl if r.fidelity else 0.0 for r in ours]),
        "kl_p99": _mean([r.fidelity.kl_p99 if r.fidelity else 0.0 for r in ours]),
        "top1": _mean([r.fidelity.top1 if r.fidelity else 1.0 for r in ours]),
    }
    for text in bases[0].perplexity:
        row |= _perplexity_cells(text, ours, bases)
    for task in bases[0].tasks:
        right = np.mean([r.tasks[task].correct for r in ours], axis=0)
        row[f"acc_{task}"], row[f"acc_{task}_se"] = paired.mean_se(right)
        row[f"acc_{task}_sd"] = _sd([r.tasks[task].accuracy for r in ours])
    for metric in bases[0].judged:
        scores = np.mean([r.judged[metric].scores for r in ours], axis=0)
        row[metric], row[f"{metric}_se"] = paired.mean_se(scores)
        row[f"{metric}_sd"] = _sd([r.judged[metric].value for r in ours])
    return row


def _perplexity_cells(text: str, ours: Sequence[Record], bases: Sequence[Record]) -> Row:
    losses = np.array([r.perplexity[text].losses for r in ours])
    reference = np.array([b.perplexity[text].losses for b in bases])
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = paired.ratio(losses, reference, bases[0].perplexity[text].weights)
    return {
        f"ppl_{text}": _mean([r.perplexity[text].value for r in ours]),
        f"ppl_{text}_sd": _sd([r.perplexity[text].value for r in ours]),
        f"ppl_{text}_ratio": ratio.value,
        f"ppl_{text}_ratio_se": ratio.se,
    }


def _mean(values: Sequence[float]) -> float:
    """Mean over seeds; one value that is not finite leaves no mean."""
    return float(np.mean(values))


def _sd(values: Sequence[float]) -> float | None:
    """Sample standard deviation over seeds, None with one seed."""
    if len(values) < 2 or not np.all(np.isfinite(values)):
        return None
    return float(np.std(values, ddof=1))


def require_known(rows: Sequence[str], seeds: Sequence[int], refused: Mapping[str, str]) -> None:
    """Refuse a request that does not describe one table."""
    for flag, values in (("--rows", rows), ("--seeds", seeds)):
        if len(set(values)) < len(values):
            said = " ".join(str(value) for value in values)
            raise HarnessError(f"{flag} {said} names one of them twice; name each once")
    for pipeline in refused:
        if pipeline not in rows or pipeline == orderings.BASE:
            raise HarnessError(
                f"--refused {pipeline!r} is not a row that can be refused; "
                f"use one of {', '.join(r for r in rows if r != orderings.BASE)}"
            )
