"""table.md: the table for reading, with fewer columns than table.csv."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from compression_order import orderings
from compression_order.common.writing import MISSING, grid, show
from compression_order.results import published, table
from compression_order.results.guards import Records
from compression_order.results.table import Row, Table


def markdown(study: str, made: Table, records: Records, figures: published.Published | None) -> str:
    """The table for reading: caption, fewer columns, notes, fixed settings, columns of the CSV."""
    notes = [f"- `{r['pipeline']}`: {r['note']}" for r in made.rows if r["note"] != "ok"]
    registry = [[f"`{c.name}`", c.unit or "-", c.description] for c in table.REGISTRY]
    blocks = [
        f"# {study}: {len(made.rows)} pipelines",
        caption(records, figures),
        grid([[title for title, _ in reading_row(made, row)] for row in made.rows[:1]]
             + [[cell for _, cell in reading_row(made, row)] for row in made.rows]),
        "\n".join(["Notes:", "", *notes]) if notes else "Notes: no guard found anything.",
        "\n".join(["Fixed settings, as recorded in `checkpoint.json`:", "", *fixed(records)]),
        "## Columns of table.csv",
        grid([["column", "unit", "meaning"], *registry]),
    ]  # fmt: skip
    return "\n\n".join(blocks) + "\n"


def caption(records: Records, figures: published.Published | None) -> str:
    """What is varied, what is fixed, the units and where each uncertainty comes from."""
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


def reading_row(made: Table, row: Row) -> Iterator[tuple[str, str]]:
    """(title, cell) of the columns that are worth a reader's eye."""

    def cell(name: str, digits: int, scale: float = 1.0) -> str:
        value = row.get(name)
        return show(value * scale if isinstance(value, int | float) else value, digits)

    def spread(name: str, digits: int, scale: float = 1.0) -> str:
        sd = cell(f"{name}_sd", digits, scale)
        return "" if sd == MISSING else f" [sd {sd}]"

    yield "pipeline", str(row["pipeline"])
    if row["arm"]:
        yield "arm", str(row["arm"])
    yield "MiB", cell("size_mib", 1)
    yield "ratio", cell("compression_ratio", 2)
    yield "params, M", cell("parameters", 1, 1e-6)
    for text in made.texts:
        name = f"ppl_{text}"
        ratio = f"({cell(f'{name}_ratio', 3)} ± {cell(f'{name}_ratio_se', 3)})"
        perplexity = f"{cell(name, 2)}{spread(name, 2)} {ratio}"
        yield f"ppl {text} (x base)", MISSING if cell(name, 2) == MISSING else perplexity
    yield "KL", cell("kl", 3) + spread("kl", 3)
    yield "top-1", cell("top1", 3)
    for task in made.tasks:
        name = f"acc_{task}"
        accuracy = f"{cell(name, 1, 100)}{spread(name, 1, 100)} ± {cell(f'{name}_se', 1, 100)}"
        yield f"{task}, %", MISSING if cell(name, 1) == MISSING else accuracy
    for metric in made.judged:
        score = f"{cell(metric, 3)}{spread(metric, 3)} ± {cell(f'{metric}_se', 3)}"
        yield metric, MISSING if cell(metric, 3) == MISSING else score
    yield "Q before P", cell("q_before_p", 0)
    yield "Q before KD", cell("q_before_kd", 0)
    yield "published ppl", cell("published_perplexity", 2)
    yield "published MiB", cell("published_size_mib", 0)


def fixed(records: Records) -> Iterator[str]:
    """One line a stage: method and settings, from the shortest pipeline that ends in it."""
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
