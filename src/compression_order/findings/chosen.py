"""Which rows are compared on a text, and the losses that they are compared on."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from compression_order import orderings
from compression_order.findings.comparisons import Labelled, Tested
from compression_order.findings.listing import Entry
from compression_order.results.guards import Records
from compression_order.statistics import contrast, paired
from compression_order.statistics.estimates import Sample
from compression_order.statistics.paired import Array
from compression_order.study.settings import Contrast


def declared(contrasts: Mapping[str, Contrast], available: Sequence[str]) -> list[Labelled]:
    """The contrasts that a study declares, as far as their rows can be compared."""
    known = set(available)
    return [
        ({"name": name, **its.model_dump()}, contrast.geometric(its.over, its.under))
        for name, its in contrasts.items()
        if set(its.rows) <= known
    ]


def commutators(rows: Sequence[str]) -> list[Labelled]:
    """Pairs that differ only by a swap of neighbouring stages: ...-X-Y-... over ...-Y-X-..."""
    asked: list[Labelled] = []
    for one, other in orderings.swaps(rows):
        tokens, at = orderings.split(one), orderings.swapped(one, other) or 0
        label = {
            "first": one,
            "second": other,
            "swapped": [tokens[at], tokens[at + 1]],
            "after": orderings.join(tokens[:at]),
            "then": "-".join(tokens[at + 2 :]),
        }
        asked.append((label, contrast.pair(one, other)))
    return asked


def agreement(here: Tested, rows: Sequence[str], there: Tested, others: Sequence[str]) -> Entry:
    """Count the pairs that are separable on two texts, and those of one direction among them.

    Args:
        here: every two orders on one text.
        rows: of the sample on that text.
        there: the same on the other text.
        others: of the sample on the other text.
    """
    place = {row: nth for nth, row in enumerate(rows)}
    renumbered = np.array([place.get(row, -1) for row in others], dtype=np.intp)
    assert here.asked.two is not None and there.asked.two is not None
    two = renumbered[there.asked.two]
    codes = [pair[0] * len(rows) + pair[1] for pair in (here.asked.two, two)]
    known = np.flatnonzero((two >= 0).all(axis=0))
    _, one, other = np.intersect1d(codes[0], codes[1][known], return_indices=True)
    other = known[other]
    both = here.verdicts.separable[one] & there.verdicts.separable[other]
    alike = (here.effects.value[one] < 0) == (there.effects.value[other] < 0)
    return {"separable_on_both": int(both.sum()), "in_one_direction": int((both & alike).sum())}


def mean_absolute(sample: Sample, first: str, second: str) -> float:
    """Mean over seeds and units of |loss difference|, nats per token: a distance of two models."""
    distance = np.abs(sample.losses[first] - sample.losses[second]).mean(axis=0)
    return paired.mean_se(distance, sample.weights).value


def comparable(rows: Sequence[str], sample: Sample) -> Iterator[str]:
    """The rows that the sample contains, in order."""
    return (row for row in rows if row in sample.losses)


def sample_of(
    text: str,
    rows: Sequence[str],
    records: Records,
    unfit: Mapping[str, str],
    by_tokens: bool = True,
) -> Sample:
    """The losses of the rows on a text; unfit and non-finite rows are left out.

    Args:
        text: its name.
        rows: to compare.
        records: of the rows.
        unfit: row -> why it cannot be compared on anything.
        by_tokens: whether a unit counts its scored tokens, or as much as any other.
    """
    entry = records[orderings.BASE][0].perplexity[text]
    losses, left_out = dict[str, Array](), dict[str, str]()
    for row in rows:
        why = unfit.get(row)
        values = np.array([] if why else [r.perplexity[text].losses for r in records[row]])
        if not why and not np.isfinite(values).all():
            why = "its perplexity is not finite"
        if why:
            left_out[row] = why
        else:
            losses[row] = values
    return Sample(
        text=text,
        units=f"{len(entry.losses)} {entry.unit}",
        losses=losses,
        weights=entry.counts if by_tokens else np.ones_like(entry.counts),
        tokens=entry.tokens / len(entry.losses),
        left_out=left_out,
    )
