"""table.md: the table for reading, with fewer columns than table.csv."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from compression_order import orderings
from compression_order.common.writing import MISSING, grid
from compression_order.results import cards, published
from compression_order.results.column import Card, Shown
from compression_order.results.guards import Records
from compression_order.results.table import Row, Table


def markdown(study: str, made: Table, records: Records, figures: published.Published | None) -> str:
    """The table for reading: caption, fewer columns, notes, fixed settings, columns of the CSV."""
    notes = [f"- `{r['pipeline']}`: {r['note']}" for r in made.rows if r["note"] != "ok"]
    meanings = [[f"`{c.name}`", c.unit or "-", c.meaning] for c in cards.CARDS]
    blocks = [
        f"# {study}: {len(made.rows)} pipelines",
        caption(records, figures),
        grid(reading_table(made)),
        "\n".join(["Notes:", "", *notes]) if notes else "Notes: no guard found anything.",
        "\n".join(["Fixed settings, as recorded in `checkpoint.json`:", "", *fixed(records)]),
        "## Columns of table.csv",
        grid([["column", "unit", "meaning"], *meanings]),
    ]  # fmt: skip
    return "\n\n".join(blocks) + "\n"


def caption(records: Records, figures: published.Published | None) -> str:
    """State what is varied, what is fixed, the units and the source of each uncertainty."""
    bases = records[orderings.BASE]
    seeds = ", ".join(str(base.seed) for base in bases)
    spread = (
        f"Means over the seeds {seeds}; `sd` is the sample standard deviation over them."
        if len(bases) > 1
        else f"One seed ({seeds}): no spread over training runs is known, and a difference "
        "between two orders may be one of seeds."
    )
    texts = "; ".join(
        f"{name}: {len(entry.losses)} {entry.protocol}"
        for name, entry in bases[0].perplexity.items()
    )
    beside = (
        f" Published figures are those of {figures.study} ({', '.join(figures.models)}, its own "
        "text): compare how orders relate, not levels."
        if figures
        else ""
    )
    return (
        "The ordering of the stages is the scientific variable. Fixed in every row: the base "
        "model, the method and settings of each stage, the seed, and the sample that is scored, "
        f"proven by its hash. {spread} Perplexity ({texts}) is followed by its ratio to base ± "
        "the standard error paired over the same windows (weighted by tokens) or documents "
        "(unweighted), delta method on the mean difference of log losses; it speaks of the text "
        "sample alone. KL(base || row) is in nats per token, top-1 is the share of tokens on "
        "which base and row agree, tasks are accuracies in percent ± the standard error over "
        f"questions. MiB is the model file on disk, ratio is base over row.{beside}"
    )


def reading_table(made: Table) -> list[list[str]]:
    """The columns shown to a reader, without those that are n/a in every row."""
    filled = {column.name: column for column in made.filled}
    shown = [(c, c.shown) for c in filled.values() if c.shown and not c.shown.within]
    heading = [
        shown.title + (" (x base)" if f"{c.name}_ratio" in filled else "") for c, shown in shown
    ]
    return [heading, *([_told(c, its, row, filled) for c, its in shown] for row in made.rows)]


def _told(column: Card, shown: Shown, row: Row, filled: Mapping[str, Card]) -> str:
    """A cell with its additions: spread over seeds, standard error, ratio to base."""
    name = column.name
    told = shown.number(row.get(name))
    if told == MISSING:
        return told
    sd = shown.number(row.get(f"{name}_sd"))
    if sd != MISSING:
        told += f" [sd {sd}]"
    if f"{name}_se" in filled:
        told += f" ± {shown.number(row.get(f'{name}_se'))}"
    ratio = filled.get(f"{name}_ratio")
    if ratio and ratio.shown:
        value, se = row.get(ratio.name), row.get(f"{ratio.name}_se")
        told += f" ({ratio.shown.number(value)} ± {ratio.shown.number(se)})"
    return told


def fixed(records: Records) -> Iterator[str]:
    """One line per stage: method and settings, from the shortest pipeline that ends in it."""
    manifests: dict[str, list[Mapping[str, Any]]] = {}
    for replicates in sorted(records.values(), key=lambda r: len(orderings.split(r[0].pipeline))):
        for record in replicates:
            if record.checkpoint:
                token = orderings.last(record.pipeline)
                manifests.setdefault(token, []).append(record.checkpoint)
    for token, made in manifests.items():
        recipes = [(m.get("method"), m.get("settings") or {}) for m in made]
        method, settings = recipes[0]
        listed = ", ".join(f"{key} {value}" for key, value in flat(settings))
        varies = "" if all(r == recipes[0] for r in recipes) else " (not the same in every row)"
        yield f"- `{token}`: {method}; {listed or 'no settings'}{varies}"


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted keys, in a fixed order."""
    for key, value in sorted(settings.items()):
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)
