"""One cell of a study's table explained: its value, formula, files, notes and checkpoints.

The same sections make the text for the terminal and the Markdown page.
"""

import difflib
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compression_order import methods, orderings
from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.common.writing import MISSING, count
from compression_order.results import (
    cells,
    guards,
    provenance,
    published,
    records,
    stored_table,
    table,
)
from compression_order.results.column import Card, Scored, Value
from compression_order.results.guards import Records
from compression_order.results.provenance import Link
from compression_order.results.readings import Judged, Perplexity, Reading, Task
from compression_order.results.records import Record
from compression_order.results.table import Table
from compression_order.study.study import PUBLISHED, Study

WIDTH = 100  # columns of the terminal
_ERROR = "sample standard deviation over {units}{of_seeds} / square root of their number"
# a cell's computation -> its formula; `one` is that of one seed; all others are means
FORMULAS: Mapping[Callable[..., Any], str] = {
    cells.spread: "sample standard deviation over {seeds} of {one}",
    cells.smaller_than_base: "{one} of base / {one} of this row{over_seeds}",
    cells.over_base: "exp(mean over {units} of loss of this row - loss of base{weighted})"
    "{over_seeds}",
    cells.over_base_se: "standard error, by the delta method over {units}, of exp(mean of loss of "
    "this row - loss of base{weighted}){over_seeds}",
    cells.right_se: _ERROR,
    cells.verdict_se: _ERROR,
}
OF_PUBLISHED = "published_"  # prefix of the columns of published figures
WITH_BASE = (cells.smaller_than_base, cells.over_base, cells.over_base_se)


@dataclass(frozen=True)
class Section:
    """A title, and its entries: name and text."""

    title: str
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Cell:
    """A cell to explain.

    Attributes:
        study: its study.
        results: folder of the study's results.
        table: the table, recomputed from the evaluations.
        records: the measurements.
        row: the pipeline.
        card: of the column.
        stored: the cell in table.csv; None if there is no table.csv yet.
        seed: seed to show; None: files of all seeds, checkpoints of the first.
    """

    study: Study
    results: Path
    table: Table
    records: Records
    row: str
    card: Card
    stored: str | None
    seed: int | None

    @property
    def values(self) -> Mapping[str, Any]:
        """The cells of its row at full precision."""
        return next(its for its in self.table.rows if its["pipeline"] == self.row)


def find(study: Study, results: Path, row: str, column: str, seed: int | None, make: str) -> Cell:
    """Find a cell of a finished study; recompute the table and compare it with table.csv.

    Args:
        study: the study.
        results: folder of its results.
        row: the pipeline.
        column: as in table.csv.
        seed: seed to show; None: all.
        make: the command that makes the table, for messages.

    Raises:
        HarnessError: no such row, column or seed; the study is not finished; an evaluation is
            damaged; or table.csv differs from the evaluations.
    """
    _require_row(study, row)
    if seed not in (None, *study.seeds):
        seeds = ", ".join(map(str, study.seeds))
        raise HarnessError(f"--seed: {study.name} has no seed {seed}; use one of {seeds}")
    _require_finished(study, results, make)
    plan, path = study.plan, results / "table.csv"
    available = [its for its in plan.rows if its not in plan.refused]
    measured = guards.load(results, available, study.seeds, study.judge is not None)
    asked = study.file.published
    figures = published.read(study.root / PUBLISHED, asked) if asked else None
    made = table.build(plan.rows, measured, plan.refused, figures, study.kinds, plan.arms)
    card, stored = _card(study, made, column), None
    if path.exists():
        its = stored_table.read(path, make)
        stored_table.require_rows(path, its, plan.rows, study.name, make)
        stored_table.require_same(path, its, made, results, make)
        stored = next(line for line in its if line["pipeline"] == row).get(column)
    return Cell(study, results, made, measured, row, card, stored, seed)


def _require_row(study: Study, row: str) -> None:
    """Refuse an unknown row, and a row that cannot exist."""
    if row not in study.plan.rows:
        raise HarnessError(
            f"{study.name} has no row {row!r}; use one of {', '.join(study.plan.rows)}"
        )
    if row in study.plan.refused:
        raise HarnessError(
            f"{row} of {study.name} has no cells, for the study refuses it: "
            f"{study.plan.refused[row]}; choose another row"
        )


def _require_finished(study: Study, results: Path, make: str) -> None:
    """Refuse a study that lacks evaluations of a row; name the first missing one."""
    rows = [row for row in study.plan.rows if row not in study.plan.refused]
    for folder in (results / f"seed{s}" / "evaluations" / r for s in study.seeds for r in rows):
        if not folder.is_dir():
            raise HarnessError(
                f"{study.name} is not finished: {folder} does not exist; run `{make}` first, or "
                "name the folder of its results with --results"
            )


def _card(study: Study, made: Table, column: str) -> Card:
    """The card of a column, or the sentence that there is none, with the nearest ones first."""
    names = [card.name for card in made.columns]
    if column in names:
        return made.columns[names.index(column)]
    near = difflib.get_close_matches(column, names)
    others = ", ".join([*near, *(name for name in names if name not in near)])
    raise HarnessError(f"{study.name} has no column {column!r}; use one of {others}")


def sections(cell: Cell) -> Iterator[Section]:
    """All sections about a cell."""
    yield Section(f"{cell.study.name}: {cell.card.name} of {cell.row}", list(_value(cell)))
    yield Section("Read from", list(_read_from(cell)))
    seed = cell.study.seeds[0] if cell.seed is None else cell.seed
    for link in provenance.chain(cell.results, cell.row, seed):
        yield Section(_title(link, seed), list(_stage(cell.study, link)))


def _value(cell: Cell) -> Iterator[tuple[str, str]]:
    card = cell.card
    yield "in table.csv", cell.stored or "there is none yet"
    yield "value", _exact(cell.values.get(card.name))
    yield from ([("unit", card.unit)] if card.unit else [])
    for ending, name in (("_se", "standard error"), ("_sd", "sd over seeds")):
        if cell.values.get(f"{card.name}{ending}") is not None:
            yield name, _exact(cell.values[f"{card.name}{ending}"])
    yield "meaning", card.meaning
    formula = formula_of(cell)
    yield from ([("formula", formula)] if formula else [])
    yield "notes", "; ".join(notes(cell)) or "none: no guard found anything that concerns it"
    yield "checkout", provenance.revision()


def _exact(value: Value) -> str:
    """Format a number with every digit, a whole number without a point."""
    if value in (None, ""):
        return MISSING
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def formula_of(cell: Cell) -> str | None:
    """The formula from the evaluation files to the value; None if the card is sufficient."""
    card = cell.card
    if not isinstance(card, Scored):
        return None
    reading = cell.records[cell.row][0].reading(card.source, card.entry)
    if reading is None:
        return None
    several = len(cell.records[cell.row]) > 1
    seeds = count(len(cell.records[cell.row]), "seed")
    return FORMULAS.get(card.cell, "{one}{over_seeds}").format(
        one=_of_one(card, reading),
        units=_units(reading),
        seeds=seeds,
        weighted=_weighted(reading),
        over_seeds=f", mean of {seeds}" if several else "",
        of_seeds=f" (each the mean of {seeds})" if several else "",
    )


def _units(reading: Reading) -> str:
    """What was scored, counted."""
    if isinstance(reading, Perplexity):
        return count(len(reading.losses), reading.protocol.removesuffix("s"))
    if isinstance(reading, Task):
        return count(len(reading.correct), "question")
    return count(len(reading.scores), "answer") if isinstance(reading, Judged) else ""


def _weighted(reading: Reading) -> str:
    is_weighted = isinstance(reading, Perplexity) and reading.protocol == "windows"
    return ", weighted by tokens" if is_weighted else ""


def _of_one(card: Scored, reading: Reading) -> str:
    """The formula of one checkpoint's score."""
    if isinstance(reading, Perplexity):
        return f"exp(mean loss over {_units(reading)}{_weighted(reading)})"
    if isinstance(reading, Task):
        what = "mean score over" if reading.graded else "right answers /"
        return f"{what} {_units(reading)}"
    if isinstance(reading, Judged):
        return f"mean verdict over {_units(reading)}"
    return f"{card.entry!r} of {card.source.file}"


def notes(cell: Cell) -> list[str]:
    """Findings of the guards about the cell's column or about the whole row."""
    others = {c.name for c in cell.table.columns if not cell.card.name.startswith(c.name)}
    found = str(cell.values["note"]).split("; ")
    return [its for its in found if its != "ok" and its.split()[0].rstrip(":") not in others]


def _read_from(cell: Cell) -> Iterator[tuple[str, str]]:
    card = cell.card
    if isinstance(card, Scored):
        rows = [cell.row] if card.cell not in WITH_BASE else [cell.row, orderings.BASE]
        for row in dict.fromkeys(rows):
            for record in cell.records[row]:
                if cell.seed in (None, record.seed):
                    yield from _evaluation(cell.results, card, record)
    elif card.name.startswith(OF_PUBLISHED):
        yield from _published(cell)
    else:
        yield "file", "none: no evaluation decides this column"


def _evaluation(results: Path, card: Scored, record: Record) -> Iterator[tuple[str, str]]:
    path = records.folder(results, record) / card.source.file
    reading = record.reading(card.source, card.entry)
    yield "file", str(path) if path.exists() else f"none: {orderings.BASE} is not held against base"
    if reading is None:
        yield "score", f"none: the study did not measure {card.entry}"
    else:
        yield "score", f"{_exact(reading.value)}{f' of {card.part}' if card.part else ''}"
        yield "sample", reading.scored or "none: no sample decides it"


def _published(cell: Cell) -> Iterator[tuple[str, str]]:
    asked, plan = cell.study.file.published, cell.study.plan
    if not asked:
        yield "file", "none: the study file names no published study"
        return
    pipeline = orderings.stands_for(cell.row, plan.rows, plan.arms)
    if pipeline is None:
        yield "file", f"none: another row stands for {orderings.plain(cell.row)}"
        return
    path = cell.study.root / PUBLISHED
    name = cell.card.name.removeprefix(OF_PUBLISHED)
    metric = next(its for its in published.METRICS if name.startswith(its))
    yield "file", files.of_workflow(PUBLISHED)
    lines = published.lines_of(path, asked, pipeline, metric)
    for number, line in lines:
        yield f"line {number}", ",".join(line.values())
        used = "used" if line["trust"] in published.USABLE else "not shown"
        yield "trust", f"{line['trust']} ({used})"
    if not lines:
        yield "line", f"none: {asked} has no {metric} of {pipeline}"


def _title(link: Link, seed: int) -> str:
    if link.parent is None:
        return f"{link.pipeline} (seed {seed})"
    token = orderings.last(link.pipeline)
    return f"{link.pipeline} = {token} after {link.parent} (seed {seed})"


def _stage(study: Study, link: Link) -> Iterator[tuple[str, str]]:
    yield "manifest", str(link.manifest)
    if link.parent is not None:
        yield "method", _method(link.method)
        yield "settings", _settings(link)
        yield from _source(link.method)
    else:
        yield "model", f"{study.file.model.name}, not compressed"
    yield "parent", _parent(link)
    yield provenance.WEIGHTS, link.weights_digest or "not recorded"
    yield "on disk", _on_disk(link)


def _method(method: str) -> str:
    known = method in methods.REGISTRY
    return f"{method} ({methods.settings(method).kind})" if known else method


def _settings(link: Link) -> str:
    if link.against is None:
        return f"{', '.join(link.settings)} (all: this checkout has no such method)"
    return f"unlike {link.against}: {', '.join(link.settings) or 'none'}"


def _source(method: str) -> Iterator[tuple[str, str]]:
    path = provenance.source(method)
    if path is None:
        yield "source", f"none: this checkout has no method {method}"
        return
    yield "source", files.of_workflow(path)
    does, paper = provenance.about(path)
    yield "does", does
    yield "paper", paper or "none: the source names none"


def _parent(link: Link) -> str:
    recorded = link.recorded.get("parent")
    if recorded is None:
        return "not recorded"
    if link.parent is None:
        return f"{recorded}, asset.json of the prepared model"
    if link.parent_digest is None:
        return f"{recorded} (no manifest of {link.parent} here)"
    if recorded == link.parent_digest:
        return f"{recorded}, the manifest of {link.parent}"
    return (
        f"{recorded} (NOT the manifest of {link.parent} that lies here, {link.parent_digest}: the "
        "parent was made again since)"
    )


def _on_disk(link: Link) -> str:
    if not link.weights.exists():
        return f"no {link.weights} (a record holds no weights)"
    size, recorded = link.weights.stat().st_size, link.recorded.get("bytes", {}).get("model")
    unlike = f", NOT the {recorded} that are recorded" if recorded not in (None, size) else ""
    return f"{link.weights}, {size} bytes{unlike}"


def terminal(told: Sequence[Section]) -> Iterator[str]:
    """Lines of limited width."""
    width = max(len(name) for section in told for name, _ in section.facts) + 2
    for number, section in enumerate(told):
        yield f"\n{section.title}" if number else section.title
        for name, text in section.facts:
            yield from textwrap.wrap(
                text, WIDTH, initial_indent=f"  {name.ljust(width)}",
                subsequent_indent=" " * (width + 2),
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip


def markdown(told: Sequence[Section]) -> str:
    """A page."""
    blocks = []
    for number, section in enumerate(told):
        facts = "\n".join(f"- {name}: {text}" for name, text in section.facts)
        blocks += [f"{'##' if number else '#'} {section.title}", facts]
    return "\n\n".join(blocks) + "\n"
