"""Compare a finished study with a published one: which of its claims are reproduced here?

Only published figures that can be trusted are compared (published/README.md). The 95% intervals
come from a bootstrap over our documents, windows or questions, with the same draws for every
pipeline. Published figures come from single runs and have no interval.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from compression_order import orderings
from compression_order.architecture import shapes
from compression_order.common.errors import HarnessError
from compression_order.orderings import Rows
from compression_order.planning import graph
from compression_order.results import (
    claims,
    exact,
    guards,
    published,
    scores,
    stored_table,
    table,
    verdict,
)
from compression_order.results.claims import Claim, Measure, PublishedStudy
from compression_order.results.guards import Records
from compression_order.results.published import Figure
from compression_order.results.stored_table import Cells
from compression_order.results.verdict import NOT_TESTABLE, Finding
from compression_order.results.verdict_page import Report
from compression_order.study.file import ModelMade
from compression_order.study.study import Study


def published_name(asked: Study, source: str) -> str:
    """The published study to compare with."""
    if not asked.file.published:
        known = ", ".join(claims.REGISTRY)
        raise HarnessError(
            f"{source}: the key 'published' is missing, so there is nothing to compare with; "
            f"add it with one of: {known}"
        )
    return asked.file.published


def read(asked: Study, path: Path, results: Path, make: str) -> tuple[Cells, Records]:
    """The table and the evaluations behind it, proven to belong to each other and to the study."""
    cells = stored_table.read(path, make)
    stored_table.require_rows(path, cells, asked.plan.rows, asked.name, make)
    if not any(results.glob("seed*/evaluations/base/*.json")):
        raise HarnessError(
            f"{results} has no evaluations that {path} could come from: it is of another study, or "
            f"they were deleted; give the table of {asked.name}, or run `{make}`"
        )
    available = [row for row in asked.plan.rows if row not in asked.plan.refused]
    records = guards.load(results, available, asked.seeds, asked.judge is not None)
    require_model(asked, path, records, make)
    plan = asked.plan
    made = table.build(plan.rows, records, plan.refused, None, asked.kinds, plan.arms)
    stored_table.require_same(path, cells, made, results, make)
    return cells, records


def require_model(asked: Study, path: Path, records: Records, make: str) -> None:
    """Refuse evaluations of another model than the study's, if the shape of its model is known."""
    model = asked.file.model
    if not isinstance(model, ModelMade) and model.name not in shapes.known():
        return
    expected = graph.architecture(asked).parameters
    found = records[orderings.BASE][0].parameters
    if found != expected:
        raise HarnessError(
            f"{path}: base has {found:,} parameters but {model.name}, the model of the study "
            f"{asked.name}, has {expected:,}: the table is of another study; give the table of "
            f"{asked.name}, or run `{make}`"
        )


def findings(
    asked: Study,
    claims: PublishedStudy,
    figures: Sequence[Figure],
    rows: Rows,
    records: Records,
    cells: Cells,
) -> list[Finding]:
    """The verdict of one arm: sizes, claims, rankings.

    Args:
        asked: our study.
        claims: what the published one claims.
        figures: its usable figures.
        rows: published pipeline -> the row of this arm that stands for it.
        records: of the rows that can exist.
        cells: table.csv, for judged scores.
    """
    ours = {m.name: scores.standing_for(m, rows, records, cells) for m in claims.measures}
    theirs = {m.name: printed(m, figures) for m in claims.measures}
    by_name = {measure.name: measure for measure in claims.measures}
    tested = [
        verdict.claimed(
            claim,
            by_name[claim.measure],
            unlike(claim, rows, records) or ours[claim.measure],
            theirs[claim.measure],
            asked.file.comparisons.bound,
        )
        for claim in claims.claims
    ]
    tested += [verdict.ranking(m, ours[m.name], theirs[m.name]) for m in claims.measures]
    return [
        *exact.findings(figures, rows, records, asked),
        *exact.one_size(claims.one_size, rows, records),
        *verdict.settled(tested),
    ]


def unlike(claim: Claim, rows: Rows, records: Records) -> str | None:
    """Why a claim about models of one size cannot be tested on ours, or None."""
    known = [name for name in claim.pipelines if rows.get(name) in records]
    if not claim.alike or len(known) < len(claim.pipelines):
        return None
    counts = {name: records[rows[name]][0].parameters for name in known}
    if max(counts.values()) <= claim.alike * min(counts.values()):
        return None
    told = ", ".join(f"{name} has {count:,}" for name, count in counts.items())
    return f"it is about models of one size, here within a factor of {claim.alike}: {told}"


def printed(measure: Measure, figures: Sequence[Figure]) -> dict[str, Figure]:
    """The published figures of a measure that may be compared."""
    return {
        figure.pipeline: figure
        for figure in figures
        if (figure.metric, figure.model) == (measure.metric, measure.model)
        and figure.pipeline not in measure.excluded
    }


def scope(
    asked: Study,
    figures: Sequence[Figure],
    records: Records,
    found: Mapping[str, Sequence[Finding]],
) -> Iterator[str]:
    """State in sentences which claims this study can test and which it cannot."""
    parameters = records[orderings.BASE][0].parameters
    models = list(dict.fromkeys(figure.model for figure in figures))
    other = [why for m in models if (why := exact.another_model(asked, records, m))]
    yield f"The model of this study is {asked.file.model.name}, {parameters:,} parameters."
    if len(other) == len(models):
        yield (
            "It can speak to how pipelines relate, not to absolute sizes and ratios: "
            f"{'; '.join(other)}. What holds at its size need not hold at another."
        )
    else:
        yield "It is a published model, so that sizes and ratios must agree to the printed digit."
    every = {(f.name, f.verdict == NOT_TESTABLE): f for arm in found.values() for f in arm}
    for can, words in ((True, "Claims it speaks to"), (False, "Claims it cannot speak to")):
        names = [name for name, silent in every if silent is not can]
        yield f"{words}: {', '.join(dict.fromkeys(names)) or 'none'}."
    yield "Levels of perplexity and quality are not compared: text, sample and judge differ."
    seeds = len(asked.seeds)
    yield (
        "Intervals are over the sample of text and questions, "
        + ("with one seed: nothing is said about other training runs."
           if seeds == 1
           else f"of the mean over {seeds} seeds; a claim must also hold in every seed.")
    )  # fmt: skip


def left_out(path: Path, name: str) -> list[str]:
    """How many published figures cannot be used, and why."""
    return [
        f"{count} of {metric}, {trust}" + (f" ({why})" if why else "")
        for count, metric, trust, why in published.left_out(path, name)
    ]


def report(
    asked: Study, source: str, table_csv: Path, results: Path, published_csv: Path, make: str
) -> Report:
    """Everything that a verdict says.

    Args:
        asked: our study.
        source: its file, for messages.
        table_csv: its table.
        results: folder of its evaluations.
        published_csv: the published figures.
        make: the command that makes the table, for messages.

    Raises:
        HarnessError: the study names no published one, or its table does not belong to it.
    """
    name = published_name(asked, source)
    its_claims = claims.of(name)
    cells, records = read(asked, table_csv, results, make)
    figures = published.figures(published_csv, name)
    found = {
        arm: findings(asked, its_claims, figures, rows, records, cells)
        for arm, rows in orderings.rows_of_arms(asked.plan, source).items()
    }
    return Report(
        study=asked.name,
        published=name,
        scope=list(scope(asked, figures, records, found)),
        arms=found,
        left_out=left_out(published_csv, name),
    )
