"""analysis.json: every family of comparisons of a study, arm by arm."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from compression_order import orderings
from compression_order.common import files
from compression_order.findings import (
    controls,
    flips,
    listing,
    needs,
    prose,
)
from compression_order.findings.arm import NOT_ASKED, NOT_HERE, Arm
from compression_order.findings.listing import Entry, Numbers
from compression_order.findings.of_text import OfText
from compression_order.orderings import Orders
from compression_order.results import guards, scores
from compression_order.results.guards import Records
from compression_order.results.published import Published
from compression_order.results.readings import Task
from compression_order.results.request import Asked as Request
from compression_order.statistics import multiplicity
from compression_order.study.settings import Comparisons


def analysis(
    study: str,
    rows: Sequence[str],
    records: Records,
    arms: Mapping[str, Sequence[str]],
    published: Published | None,
    wanted: Comparisons,
) -> Entry:
    """Everything that analysis.json holds.

    Args:
        study: its name.
        rows: of the table, those that cannot exist among them.
        records: of the rows that can.
        arms: arm -> its rows; empty where the study has none.
        published: usable figures of the published study.
        wanted: which comparisons.
    """
    known = controls.tokens(records)
    seeds = [base.seed for base in records[orderings.BASE]]
    unfit = guards.copies(records)
    found = {}
    for arm, its in (arms or {"all": rows}).items():
        able = [row for row in its if row in records]
        found[arm] = of_arm(Arm(able, records, unfit, known, published, wanted))
    return {
        "study": study,
        "seeds": seeds,
        "intervals_over": "text" if len(seeds) == 1 else "text and seeds",
        "level": 1 - multiplicity.ALPHA,
        "primary_text": wanted.text or scores.primary_text(records[orderings.BASE][0]),
        "weighting": wanted.weighting,
        "bound": wanted.bound,
        "refused": [row for row in rows if row not in records],
        "guards": {row: texts for row, texts in guards.findings(records).items() if texts},
        "stages": {
            name: {"kind": t.kind, "method": t.method, "conversations": t.trained}
            for name, t in known.items()
        },
        "arms": found,
    }


def of_arm(arm: Arm) -> Entry:
    """Perplexity on every text, every question set, and comparisons without rows in the study."""
    base = arm.records[orderings.BASE][0]
    primary = arm.primary
    first = OfText.of(primary, arm, None) if primary else None
    texts = {
        text: (first if first and text == primary else OfText.of(text, arm, first)).families()
        for text in base.perplexity
    }
    return {
        "rows": list(arm.rows),
        "full_orders": [list(orders.rows) for orders in arm.full],
        "perplexity": texts,
        "questions": {task: of_task(base.tasks[task], task, arm) for task in base.tasks},
    }


def of_task(base: Task, task: str, arm: Arm) -> Entry:
    """All families of one question set."""
    answers = arm.answers[task]
    fit = {row: arm.records[row] for row in answers.rows}

    def tested(two: Numbers) -> tuple[flips.Tested, Entry]:
        found = flips.tested(answers, two)
        return found, found.family(arm.most())

    def of_orders(orders: Orders) -> Entry:
        found, family = tested(answers.every_two(orders.rows))
        power = needs.of_task(base, found.either)
        return {"stages": list(orders.stages), **family, "power": power}

    plain = [its.over[0] + its.under[0] for its in arm.wanted.contrasts.values() if its.is_pair]
    declared = answers.numbered(plain)
    return {
        "questions": len(base.correct),
        "chance": base.chance,
        "says_nothing_because": scores.useless(task, fit),
        "accuracy": {
            row: float(its)
            for row, its in zip(answers.rows, answers.accuracy, strict=True)
            if row in arm.rows
        },
        "full_orders": [of_orders(orders) for orders in arm.full],
        "smaller_orders": [
            {"stages": list(its.stages), **tested(answers.every_two(its.rows))[1]}
            for its in arm.smaller
        ],
        "all_rows": (tested(answers.every_two(arm.rows))[1] if arm.wanted.all_pairs else NOT_ASKED),
        "contrasts": tested(declared)[1] if declared.size else NOT_HERE,
    }


def write(asked: Request, wanted: Comparisons, json: Path, markdown: Path) -> None:
    """Write every comparison of a study, and the same in sentences.

    Args:
        asked: its rows with their measurements.
        wanted: which comparisons.
        json: the file of comparisons.
        markdown: the page.
    """
    made = listing.plain(
        analysis(asked.study, asked.rows, asked.records, asked.arms, asked.figures, wanted)
    )
    listing.write(json, made)
    files.write_text(markdown, prose.page(made))
    print(f"{markdown}: {len(asked.rows)} rows, {len(made['seeds'])} seeds")
