"""Compare published figures that follow by arithmetic: sizes, compression ratios, parameters.

They follow from the model and the settings alone and have no uncertainty, so ours must equal the
printed digits. They cannot be tested if the study compresses another model.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from compression_order import orderings
from compression_order.architecture import shapes
from compression_order.common.writing import MIB
from compression_order.orderings import Rows
from compression_order.results.guards import Records
from compression_order.results.published import MIB_PER_UNIT, Figure
from compression_order.results.verdict import NOT_REPRODUCED, NOT_TESTABLE, REPRODUCED, Finding
from compression_order.study.study import Study

METRICS = ("size", "compression_ratio", "parameters")
PER_UNIT = {"M": 1e6, "B": 1e9, "": 1.0}  # of parameters


def another_model(study: Study, records: Records, published: str) -> str | None:
    """Why the study's model is not the published one, or None where it is.

    A model is identified by its name (without the owner, in any case) and, if its architecture is
    known, by its parameters: a small model under the name of a large one is another model.
    """
    name = study.file.model.name.rpartition("/")[2]
    if name.lower() != published.lower():
        return f"the figures are of {published}, this study compresses {name}"
    if name.lower() in shapes.known():
        theirs = shapes.named(name.lower()).parameters
        ours = records[orderings.BASE][0].parameters
        if ours != theirs:
            return f"{published} has {theirs:,} parameters, the base of this study {ours:,}"
    return None


def findings(
    figures: Sequence[Figure], rows: Rows, records: Records, study: Study
) -> Iterator[Finding]:
    """One finding per metric and printed value, about all pipelines with that value."""
    exact = [figure for figure in figures if figure.metric in METRICS]

    def alike(figure: Figure) -> tuple[int, str, str, float]:
        return METRICS.index(figure.metric), figure.model, figure.unit, -figure.value

    for _, group in groupby(sorted(exact, key=alike), key=alike):
        yield _finding(list(group), rows, records, study)


def _finding(group: Sequence[Figure], rows: Rows, records: Records, study: Study) -> Finding:
    first, names = group[0], [figure.pipeline for figure in group]
    printed = f"{first.printed} {first.unit}".strip()
    common = (
        f"{first.metric.replace('_', '-')}-{first.printed}",
        "size",
        f"{first.metric.replace('_', ' ').capitalize()} of {first.model} is {printed} "
        f"for {', '.join(names)}",
        "equal to every printed digit",
    )
    why = another_model(study, records, first.model)
    known = [figure for figure in group if rows.get(figure.pipeline) in records]
    if why or not known:
        why = why or f"the study has no {' or '.join(names)}"
        return Finding(*common, NOT_TESTABLE, why, names, published=first.value)
    shown = {f.pipeline: _ours(f.metric, f.unit, rows[f.pipeline], records) for f in known}
    unlike = [f for f in known if f"{shown[f.pipeline]:.{f.decimals}f}" != f.printed]
    listed = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
    evidence = f"{listed}; printed {printed}{_padding(unlike, shown)}"
    absent = [name for name in names if name not in shown]
    evidence += f"; without {', '.join(absent)}, which the study lacks" if absent else ""
    verdict = NOT_REPRODUCED if unlike else REPRODUCED
    value = (unlike or known)[0]
    return Finding(
        *common, verdict, evidence, names, ours=shown[value.pipeline], published=first.value
    )


def _ours(metric: str, unit: str, row: str, records: Records) -> float:
    """Our value of a metric in the printed unit, the mean over seeds."""
    ours, bases = records[row], records[orderings.BASE]
    if metric == "parameters":
        return sum(r.parameters for r in ours) / len(ours) / PER_UNIT[unit]
    if metric == "size":
        return sum(r.bytes for r in ours) / len(ours) / MIB / MIB_PER_UNIT[unit]
    return sum(b.bytes / r.bytes for b, r in zip(bases, ours, strict=True)) / len(ours)


def _padding(unlike: Sequence[Figure], shown: dict[str, float]) -> str:
    """Report a figure that differs only in a printed zero, which may be padding."""
    padded = [
        figure
        for figure in unlike
        if figure.decimals and figure.printed.endswith("0")
        and float(f"{shown[figure.pipeline]:.{figure.decimals - 1}f}") == figure.value
    ]  # fmt: skip
    if not padded:
        return ""
    names = ", ".join(figure.pipeline for figure in padded)
    return f"; with one decimal less {names} would agree: the last 0 may be padding"


def one_size(pipelines: Sequence[str], rows: Rows, records: Records) -> Iterator[Finding]:
    """Whether the size is independent of the order: testable with any model."""
    if not pipelines:
        return
    common = (
        "one-size",
        "relation",
        f"The order does not change the size: one compression ratio for {', '.join(pipelines)}",
        "ratios equal to two decimals",
    )
    absent = [name for name in pipelines if rows.get(name) not in records]
    if absent:
        yield Finding(*common, NOT_TESTABLE, f"it needs {', '.join(absent)}", pipelines)
        return
    values = {n: _ours("compression_ratio", "x", rows[n], records) for n in pipelines}
    shown = {f"{value:.2f}" for value in values.values()}
    verdict = REPRODUCED if len(shown) == 1 else NOT_REPRODUCED
    listed = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
    yield Finding(*common, verdict, listed, pipelines, ours=min(values.values()))
