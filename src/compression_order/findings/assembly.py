"""analysis.json: every family of comparisons of a study, arm by arm."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compression_order import orderings
from compression_order.common import files
from compression_order.findings import comparisons, controls, flips, needs, predicates, prose
from compression_order.findings.comparisons import Asked, Entry
from compression_order.findings.controls import Token
from compression_order.orderings import Orders
from compression_order.results import guards, scores
from compression_order.results.guards import Records
from compression_order.results.published import Published
from compression_order.results.request import Asked as Request
from compression_order.statistics import multiplicity
from compression_order.statistics.estimates import Sample
from compression_order.statistics.paired import Array

NOT_HERE = "not in this study"
DIGITS = 9  # significant digits, as many as a stored loss has


@dataclass(frozen=True)
class Arm:
    """The rows of one arm to compare.

    Attributes:
        rows: in the order of the table, `base` among them.
        orders: at full compression, of the rows that can exist.
        known: the stages, as their manifests record them.
        published: usable figures of the published study, if the study names one.
    """

    rows: Sequence[str]
    orders: Sequence[Orders]
    known: Mapping[str, Token]
    published: Published | None

    @property
    def kinds(self) -> dict[str, str]:
        """Token -> kind of stage."""
        return {token: its.kind for token, its in self.known.items()}


def analysis(
    study: str,
    rows: Sequence[str],
    records: Records,
    arms: Mapping[str, Sequence[str]],
    published: Published | None,
) -> Entry:
    """Everything that analysis.json holds.

    Args:
        study: its name.
        rows: of the table, those that cannot exist among them.
        records: of the rows that can.
        arms: arm -> its rows; empty where the study has none.
        published: usable figures of the published study.
    """
    known = controls.tokens(records)
    seeds = [base.seed for base in records[orderings.BASE]]
    found = {}
    for arm, its in (arms or {"all": rows}).items():
        able = [row for row in its if row in records]
        found[arm] = of_arm(Arm(able, orderings.full_orders(able), known, published), records)
    return {
        "study": study,
        "seeds": seeds,
        "intervals_over": "text" if len(seeds) == 1 else "text and seeds",
        "level": 1 - multiplicity.ALPHA,
        "primary_text": scores.primary_text(records[orderings.BASE][0]),
        "refused": [row for row in rows if row not in records],
        "guards": {row: texts for row, texts in guards.findings(records).items() if texts},
        "stages": {
            name: {"kind": t.kind, "method": t.method, "conversations": t.trained}
            for name, t in known.items()
        },
        "arms": found,
    }


def of_arm(arm: Arm, records: Records) -> Entry:
    """Perplexity on every text, every question set, and comparisons without rows in the study."""
    base = records[orderings.BASE][0]
    return {
        "rows": list(arm.rows),
        "full_orders": [list(orders.rows) for orders in arm.orders],
        "perplexity": {text: of_text(text, arm, records) for text in base.perplexity},
        "questions": {task: of_task(task, arm, records) for task in base.tasks},
    }


def of_text(text: str, arm: Arm, records: Records) -> Entry:
    """All families of perplexity on one text."""
    sample = comparisons.sample_of(text, arm.rows, records)
    drawn = comparisons.draws(sample)
    rows = list(sample.losses)

    def family(asked: Sequence[Asked]) -> Entry | str:
        if not asked:
            return NOT_HERE
        tested = comparisons.tested(sample, asked, drawn)
        return {"comparisons": len(tested), "entries": tested}

    swapped = family(comparisons.commutators(rows))
    if not isinstance(swapped, str):
        for entry in swapped["entries"]:
            entry.update(_distance(entry, sample, records))
    cells = family(controls.weaker(controls.grid(rows, arm.known)))
    if not isinstance(cells, str):
        cells["cells"] = controls.weaker_first(cells["entries"])
    return {
        "units": sample.units,
        "tokens_a_unit": sample.tokens,
        "left_out": dict(sample.left_out),
        "rows": {row: _row(sample, row) for row in rows},
        "full_orders": [
            of_orders(orders, arm, records, sample, drawn, family) for orders in arm.orders
        ],
        "all_rows": family(comparisons.pairs(rows)),
        "commutators": swapped,
        "controls": family(controls.asked(rows, arm.known)),
        "equal_budget": family(controls.equal_budget(rows, arm.known)),
        "weaker_first": cells,
    }


def of_orders(
    orders: Orders,
    arm: Arm,
    records: Records,
    sample: Sample,
    drawn: Mapping[str, Array],
    family: Any,
) -> Entry:
    """All families of comparisons between orders of the same stages."""
    rows = list(comparisons.comparable(orders.rows, sample))
    asked = comparisons.pairs(rows)
    return {
        "stages": list(orders.stages),
        "orders": rows,
        "conversations": [controls.budget(row, arm.known) for row in rows],
        "trained_tokens": [controls.trained_tokens(row, records) for row in rows],
        "pairs": family(asked),
        "main_effects": family(comparisons.positions(orders, rows)),
        "predicates": family(predicates.asked(rows, arm.kinds)),
        "gaps": predicates.gaps(sample, rows, arm.kinds, drawn, arm.published),
        "power": needs.of_text(sample, comparisons.tested(sample, asked, drawn)),
    }


def _row(sample: Sample, row: str) -> Entry:
    """Mean and spread of a row's log perplexity over seeds; no spread with one."""
    means = sample.means(row)
    several = len(means) > 1
    return {
        "log_perplexity": float(means.mean()),
        "log_perplexity_seeds": [float(mean) for mean in means],
        "sd_seeds": float(np.std(means, ddof=1)) if several else None,
    }


def _distance(entry: Entry, sample: Sample, records: Records) -> Entry:
    """Distance between two models, whichever is better, from stored losses and answers."""
    one, other = entry["first"], entry["second"]
    tasks = records[one][0].tasks
    return {
        "mean_absolute_loss_difference": comparisons.mean_absolute(sample, one, other),
        "answers_that_differ": {
            task: float(np.mean(choice[one] != choice[other]))
            for task in tasks
            if (choice := comparisons.chosen(task, [one, other], records))
        },
    }


def of_task(task: str, arm: Arm, records: Records) -> Entry:
    """All families of one question set."""
    fit = {
        row: records[row]
        for row in dict.fromkeys([orderings.BASE, *arm.rows])
        if not scores.unfit(row, records)
    }
    right, choice = (
        comparisons.right(task, list(fit), records),
        comparisons.chosen(task, [*fit], records),
    )
    base = records[orderings.BASE][0].tasks[task]
    why = scores.useless(task, fit)

    def family(rows: Sequence[str]) -> Entry:
        tested = flips.tested(rows, right, choice)
        return {"comparisons": len(tested), "entries": tested}

    return {
        "questions": len(base.correct),
        "chance": base.chance,
        "says_nothing_because": why,
        "accuracy": {row: float(right[row].mean()) for row in arm.rows if row in right},
        "full_orders": [
            {"stages": list(o.stages), **(pairs := family(o.rows)),
             "power": needs.of_task(base, pairs["entries"])}
            for o in arm.orders
        ],
        "all_rows": family([row for row in arm.rows if row in fit]),
    }  # fmt: skip


def plain(value: Any) -> Any:
    """Convert a value for JSON: no NaN, and no digits that differ between machines."""
    if isinstance(value, dict):
        return {str(key): plain(its) for key, its in value.items()}
    if isinstance(value, list | tuple):
        return [plain(its) for its in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def write(asked: Request, json: Path, markdown: Path) -> None:
    """Write every comparison of a study, and the same in sentences.

    Args:
        asked: its rows with their measurements.
        json: the file of comparisons.
        markdown: the page.
    """
    made = plain(analysis(asked.study, asked.rows, asked.records, asked.arms, asked.figures))
    files.write_json(json, made)
    files.write_text(markdown, prose.page(made))
    print(f"{markdown}: {len(asked.rows)} rows, {len(made['seeds'])} seeds")
