"""Guards: refuse results that cannot enter the table, and report suspicious ones.

Rows of a table are comparable only if they were scored on the same sample. `load` proves this:
every JSON carries the hash of what it scored, and a row with another hash than base's is refused.
`findings` names results that no working model gives.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compression_order import orderings
from compression_order.common import arithmetic
from compression_order.common.errors import HarnessError
from compression_order.results import cards
from compression_order.results.readings import Source
from compression_order.results.records import Record, folder, read
from compression_order.statistics.paired import Array

SAME_FACTOR = 1e-6  # relative: perplexities that agree so well are not two measurements
FEWEST_MULTIPLES = 3  # rows with one factor for the same stage: two may agree by chance

Bools = NDArray[np.bool_]
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
            _require_same_arithmetic(results, record, base)
            _require_unread(results, record)
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


def _require_same_arithmetic(results: Path, record: Record, base: Record) -> None:
    """Refuse a checkpoint that was made in another arithmetic than base was scored in."""
    scored = {its.compute for its in base.perplexity.values()}
    made = record.checkpoint.get("compute", arithmetic.BF16)
    if record.checkpoint and scored and scored != {made}:
        at = results / f"seed{record.seed}" / "checkpoints" / record.pipeline / "checkpoint.json"
        raise HarnessError(
            f"{at}: it was made in {made} and base was scored in {', '.join(sorted(scored))}; rows "
            "of a table are of one arithmetic (`compute` in the study file), so run the study again"
        )


def _require_unread(results: Path, record: Record) -> None:
    """Refuse a checkpoint whose last stage read a conversation that is scored.

    Its earlier stages are those of rows too. Records that do not say what was read are taken as
    they are.
    """
    read = record.checkpoint.get("read", {})
    scored = {
        number
        for its in record.perplexity.values()
        if its.text == read.get("sha256", its)
        for number in its.records
    }
    for what in ("calibration", "training"):
        both = sorted(scored & set(read.get(what, ())))
        if both:
            at = results / f"seed{record.seed}/checkpoints/{record.pipeline}/checkpoint.json"
            raise HarnessError(
                f"{at}: its {what} read record {both[0]} of the chat text, which the evaluations "
                f"score ({len(both)} such records); delete {record.pipeline} and the splits, and "
                "run again"
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
        where = f" (seed {base.seed})" if len(records[orderings.BASE]) > 1 else ""
        values = perplexities(records, nth)
        copied, multiplied = constant_multiples(values), dict(constant_steps(values))
        for pipeline, replicates in records.items():
            steps = [multiplied[pipeline]] if pipeline in multiplied else []
            texts = [*suspicious(replicates[nth]), *copied.get(pipeline, []), *steps]
            found[pipeline] += [f"{text}{where}" for text in texts]
    return found


def copies(records: Records) -> dict[str, str]:
    """Rows that were computed from another row, not measured, each with the first sign of it."""
    found: dict[str, str] = {}
    for nth, _ in enumerate(records[orderings.BASE]):
        values = perplexities(records, nth)
        multiples = {row: texts[0] for row, texts in constant_multiples(values).items()}
        found = dict(constant_steps(values)) | multiples | found
    return {row: why for row, why in found.items() if row != orderings.BASE}


def perplexities(records: Records, nth: int) -> dict[str, list[float]]:
    """Perplexity of each text of every pipeline, at the seed of that number."""
    return {
        pipeline: [its.value for its in replicates[nth].perplexity.values()]
        for pipeline, replicates in records.items()
    }


def suspicious(record: Record) -> Iterator[str]:
    """Results of one checkpoint that no working model gives, found by the checks of the cards."""
    for card in cards.of_readings(record.readings):
        reading = record.reading(card.source, card.entry)
        if card.guard and reading:
            yield from card.guard(card.name, reading)


def constant_multiples(perplexities: Mapping[str, Sequence[float]]) -> dict[str, list[str]]:
    """Rows whose perplexities are all the same multiple of another's: copied, not measured.

    If a stage changed nothing, its row is named. The parent, which was measured, is not.

    Args:
        perplexities: pipeline -> perplexity of each text.

    Returns:
        Pipeline -> what is wrong with it, once for every row of which it is a multiple.
    """
    names = list(perplexities)
    found: dict[str, list[str]] = {}
    for one, other in _near(np.array(list(perplexities.values()), dtype=np.float64)):
        row, its = names[one], names[other]
        factors = [a / b for a, b in zip(perplexities[row], perplexities[its], strict=True)]
        unchanged = its.startswith(f"{row}-") and set(factors) == {1.0}
        if not unchanged and max(factors) - min(factors) <= SAME_FACTOR * min(factors):
            told = f"every perplexity is {factors[0]:.6f} times that of {its}"
            found.setdefault(row, []).append(told)
    return found


def _near(values: Array) -> Iterator[tuple[int, int]]:
    """Every two rows, each first once, whose values may have one factor; ascending.

    The logarithm of a row's second value over its first is about the same in both. Rows are
    sorted by it, so that each is looked at beside its neighbours alone.

    Args:
        values: positive, [rows, texts]; rows that are not finite have no factor.
    """
    if values.ndim < 2 or values.shape[1] < 2:
        return
    whole = np.flatnonzero(np.isfinite(values).all(axis=1))
    ratio = np.log(values[whole, 1] / values[whole, 0])
    order = np.argsort(ratio, kind="stable")
    ranked, number = ratio[order], whole[order]
    wide = 2 * SAME_FACTOR  # log(1 + x) < x, and room for rounding
    begins = np.searchsorted(ranked, ranked - wide, "left")
    ends = np.searchsorted(ranked, ranked + wide, "right")
    pairs = [
        (int(number[at]), int(other))
        for at in np.flatnonzero(ends - begins > 1)
        for other in number[begins[at] : ends[at]]
        if other != number[at]
    ]
    yield from sorted(pairs)


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
        names, overlaps = list(rows), _overlaps(np.array(list(rows.values())))
        for nth, pipeline in enumerate(names):
            alike = _alike(nth, overlaps)
            if len(alike) >= FEWEST_MULTIPLES:
                others = ", ".join(names[other] for other in alike[1:])
                yield pipeline, f"{step} multiplies every perplexity by one factor as in {others}"


def _factor(value: float, before: float, rounding: float) -> tuple[float, float]:
    """The least and the largest factor that two rounded numbers can have."""
    low = (value - rounding) / (before + rounding)
    high = (value + rounding) / (before - rounding)
    return low * (1 - SAME_FACTOR), high * (1 + SAME_FACTOR)


def _overlaps(factors: Array) -> Bools:
    """Which rows may have the same factor on every text, [rows, rows].

    Args:
        factors: the least and the largest factor, [rows, texts, 2].
    """
    found = np.ones((len(factors), len(factors)), dtype=np.bool_)
    for low, high in np.moveaxis(factors, 0, 2):
        found &= (low[:, None] <= high) & (low <= high[:, None])
    return found


def _alike(row: int, overlaps: Bools) -> list[int]:
    """The row and all others such that any two may have the same factor on every text."""
    found = [row]
    for other in np.flatnonzero(overlaps[row]):
        if other != row and overlaps[other, found].all():
            found.append(int(other))
    return found
