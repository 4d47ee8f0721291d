r"""python src/verdict.py --study config.yaml

Hold a finished study against the published study that it names: every published claim is
reproduced, not reproduced or not testable here, with the numbers and their uncertainty. Reads
table.csv and the evaluations behind it, arm by arm; writes verdict.csv and verdict.md.

Only published figures that can be trusted are compared (published/README.md). Intervals are 95%
of a bootstrap over the documents, windows or questions of ours, the same ones drawn for every
pipeline; published figures are of single runs and have none.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from compression_order import (
    arms,
    errors,
    exact_figures,
    files,
    guards,
    orderings,
    planning,
    published,
    published_claims,
    scores,
    settings,
    shapes,
    stored_table,
    study,
    study_file,
    table,
    verdict_report,
    verdicts,
)
from compression_order.arms import Rows
from compression_order.errors import HarnessError
from compression_order.guards import Records
from compression_order.published import Figure
from compression_order.published_claims import Claim, Measure, PublishedStudy
from compression_order.stored_table import Cells
from compression_order.study import Study
from compression_order.verdicts import NOT_TESTABLE, Finding

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = settings.Parser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    settings.add_study(parser)
    add("--table", type=Path, help="table.csv (default: results/<study>/table.csv)")
    add("--results", type=Path, help="folder of the evaluations (default: results/<study>)")
    add("--published-csv", type=Path, default=ROOT / study.PUBLISHED)
    add("--csv", type=Path, help="(default: verdict.csv in the folder of the evaluations)")
    add("--markdown", type=Path, help="(default: verdict.md there)")
    return parser.parse_args(sys.argv[1:])


def main() -> None:
    args = parse_args()
    asked = study_file.read(args.study, ROOT)
    source = " ".join(map(str, args.study))
    name = published_name(asked, source)
    claims = published_claims.of(name)
    results = args.results or Path("results", asked.name)
    path = args.table or results / "table.csv"
    cells, records = read(asked, path, results, make_command(source))
    figures = published.figures(args.published_csv, name)
    found = {
        arm: findings(asked, claims, figures, rows, records, cells)
        for arm, rows in arms.of(asked.plan, source).items()
    }
    report = verdict_report.Report(
        study=asked.name,
        published=name,
        scope=list(scope(asked, figures, records, found)),
        arms=found,
        left_out=left_out(args.published_csv, name),
    )
    write(args.csv or results / "verdict.csv", verdict_report.to_csv(report))
    write(args.markdown or results / "verdict.md", verdict_report.markdown(report))
    print(*verdict_report.terminal(report), sep="\n")


def published_name(asked: Study, source: str) -> str:
    """The published study to compare with."""
    if "published" not in asked.config:
        known = ", ".join(published_claims.REGISTRY)
        raise HarnessError(
            f"{source}: the key 'published' is missing, so there is nothing to compare with; "
            f"add it with one of: {known}"
        )
    return str(asked.config["published"])


def make_command(source: str) -> str:
    """What makes the table of a study, one file or several with a blank between them."""
    quoted = f'"{source}"' if " " in source else source
    return "make table" if source == "config.yaml" else f"make table STUDY={quoted}"


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
    made = table.build(asked.plan.rows, records, asked.plan.refused, None, asked.plan.arms)
    stored_table.require_same(path, cells, made, results, make)
    return cells, records


def require_model(asked: Study, path: Path, records: Records, make: str) -> None:
    """Refuse the evaluations of another model than the study's, where its shape is known."""
    model = asked.config["model"]
    if "made" not in model and model["name"] not in shapes.known():
        return
    expected = planning.architecture(asked).parameters
    found = records[orderings.BASE][0].parameters
    if found != expected:
        raise HarnessError(
            f"{path}: base has {found:,} parameters but {model['name']}, the model of the study "
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
    return [
        *exact_figures.findings(figures, rows, records, asked),
        *exact_figures.one_size(claims.one_size, rows, records),
        *(
            verdicts.claimed(
                claim,
                by_name[claim.measure],
                unlike(claim, rows, records) or ours[claim.measure],
                theirs[claim.measure],
            )
            for claim in claims.claims
        ),
        *(verdicts.ranking(m, ours[m.name], theirs[m.name]) for m in claims.measures),
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
    """What this study can speak to, and what it cannot, in sentences."""
    parameters = records[orderings.BASE][0].parameters
    models = list(dict.fromkeys(figure.model for figure in figures))
    other = [why for m in models if (why := exact_figures.another_model(asked, records, m))]
    yield f"The model of this study is {asked.config['model']['name']}, {parameters:,} parameters."
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


def write(path: Path, text: str) -> None:
    with files.replacing(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    errors.run(main)
