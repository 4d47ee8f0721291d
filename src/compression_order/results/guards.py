"""Guards: refuse results that cannot enter the table, and report suspicious ones.

Rows of a table are comparable only if they were scored on the same sample. `load` proves this:
every JSON carries the hash of what it scored, and a row with another hash than base's is refused.
`findings` names results that no working model gives.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from compression_order import orderings
from compression_order.common.errors import HarnessError
from compression_order.results import cards
from compression_order.results.readings import Source
from compression_order.results.records import Record, folder, read

SAME_FACTOR = 1e-6  # relative: perplexities that agree so well are not two measurements
FEWEST_MULTIPLES = 3  # rows with one factor for the same stage: two may agree by chance

Entry = tuple[Source, str]  # source, and the text, question set, metric or key
Records = dict[str, tuple[Record, ...]]  # pipeline -> one record per seed


def load(
    results: Path, pipelines: Sequence[str], seeds: Sequence[int], judged: bool = False
) -> Records:
    """Load the records of every pipeline and seed; prove that all are about the same sample.

    `judged`: read the verdicts of the study's judge too; they must be by the same judge.

    Raises:
        HarnessError: base is not among the pipelines, a file is missing or broken, or a file
            is about another sample, seed or checkpoint than its place says.
    """
    if orderings.BASE not in pipelines:
        raise HarnessError("the rows lack `base`; every ratio is relative to it, so add it")
    rows = {
        p: tuple(read(results / f"seed{seed}", p, seed, judged) for seed in seeds)
        for p in pipelines
    }
    base = rows[orderings.BASE][0]
    samples = {key: (sample, orderings.BASE) for key, sample in _samples(base).items()}
    for records in rows.values():
        for record in records:
            _require_same_sample(results, record, samples)
    for record in rows[orderings.BASE]:
        _require_finite_base(results, record)
    return rows


def _require_same_sample(
    results: Path, record: Record, samples: dict[Entry, tuple[str, str]]
) -> None:
    """Refuse a record about another sample; where base has no distance, the next row sets it."""
    at, found = folder(results, record), _samples(record)
    for source, part in sorted(
        found.keys() ^ samples.keys(), key=lambda its: (its[0].file, its[1])
    ):
        if source.of_base() is None:
            raise HarnessError(
                f"{at / source.file}: {part!r} is in only one of {record.pipeline} and base; "
                "delete the files that are of an older study and run again"
            )
    for (source, part), sample in found.items():
        expected, owner = samples.setdefault((source, part), (sample, record.pipeline))
        if sample != expected:
            raise HarnessError(
                f"{at / source.file}: sample_sha256 of {part!r} is {sample} but {owner} was scored "
                f"on {expected}; delete the file and run again, so that all rows share one sample"
            )


def _samples(record: Record) -> dict[Entry, str]:
    """Source and part -> what was scored, and into how many units it was cut."""
    return {
        (source, part): reading.scored
        for source, its in record.readings.items()
        for part, reading in its.items()
        if reading.scored is not None
    }


def _require_finite_base(results: Path, base: Record) -> None:
    for text, entry in base.perplexity.items():
        if not math.isfinite(entry.value):
            raise HarnessError(
                f"{folder(results, base) / 'perplexity.json'}: perplexity of {text!r} is "
                f"{entry.value} for base, and every ratio needs it; check the model and the text"
            )


def findings(records: Records) -> dict[str, list[str]]:
    """What the guards found in each pipeline; with several seeds each finding names its seed."""
    found: dict[str, list[str]] = {pipeline: [] for pipeline in records}
    for nth, base in enumerate(records[orderings.BASE]):
        at_seed = [replicates[nth] for replicates in records.values()]
        where = f" (seed {base.seed})" if len(records[orderings.BASE]) > 1 else ""
        for record in at_seed:
            texts = [*suspicious(record), *constant_multiples(record, at_seed)]
            found[record.pipeline] += [f"{text}{where}" for text in texts]
        values = {r.pipeline: [its.value for its in r.perplexity.values()] for r in at_seed}
        for pipeline, text in constant_steps(values):
            found[pipeline].append(f"{text}{where}")
    return found


def suspicious(record: Record) -> Iterator[str]:
    """Results of one checkpoint that no working model gives, found by the checks of the cards."""
    for card in cards.of_readings(record.readings):
        reading = record.reading(card.source, card.entry)
        if card.guard and reading:
            yield from card.guard(card.name, reading)


def constant_multiples(record: Record, others: Sequence[Record]) -> Iterator[str]:
    """Rows whose perplexities are all the same multiple of this one's: copied, not measured.

    If a stage changed nothing, its row is named. The parent, which was measured, is not.
    """
    texts = list(record.perplexity)
    for other in others:
        if other.pipeline == record.pipeline or len(texts) < 2:
            continue
        factors = [record.perplexity[t].value / other.perplexity[t].value for t in texts]
        if other.pipeline.startswith(f"{record.pipeline}-") and set(factors) == {1.0}:
            continue
        finite = np.all(np.isfinite(factors))
        if finite and max(factors) - min(factors) <= SAME_FACTOR * min(factors):
            yield f"every perplexity is {factors[0]:.6f} times that of {other.pipeline}"


def constant_steps(
    perplexities: Mapping[str, Sequence[float]], rounding: float = 0.0
) -> Iterator[tuple[str, str]]:
    """Rows whose last stage multiplies the perplexities of several parents by the same factor.

    A stage that really ran damages every parent differently. Three rows or more with the same
    factor on every text were computed from their parents, not measured.

    Args:
        perplexities: pipeline -> perplexity of each text.
        rounding: half a unit of the last digit, where the perplexities are printed ones.

    Returns:
        Pairs of a pipeline and what is wrong with it.
    """
    steps: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for pipeline, values in perplexities.items():
        before = perplexities.get(orderings.parent(pipeline))
        if pipeline != orderings.BASE and before and np.all(np.isfinite([*values, *before])):
            ends = [_factor(a, b, rounding) for a, b in zip(values, before, strict=True)]
            steps.setdefault(orderings.last(pipeline), {})[pipeline] = ends
    for step, rows in steps.items():
        for pipeline in rows:
            alike = _alike(pipeline, rows)
            if len(alike) >= FEWEST_MULTIPLES:
                others = ", ".join(other for other in alike if other != pipeline)
                yield pipeline, f"{step} multiplies every perplexity by one factor as in {others}"


def _factor(value: float, before: float, rounding: float) -> tuple[float, float]:
    """The least and the largest factor that two rounded numbers can have."""
    low = (value - rounding) / (before + rounding)
    high = (value + rounding) / (before - rounding)
    return low * (1 - SAME_FACTOR), high * (1 + SAME_FACTOR)


def _alike(pipeline: str, rows: Mapping[str, Sequence[tuple[float, float]]]) -> list[str]:
    """The row and all others such that any two may have the same factor on every text."""
    found = [pipeline]
    for other in rows:
        if other != pipeline and all(_overlap(rows[other], rows[its]) for its in found):
            found.append(other)
    return found


def _overlap(one: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> bool:
    return all(
        a_low <= b_high and b_low <= a_high
        for (a_low, a_high), (b_low, b_high) in zip(one, other, strict=True)
    )
