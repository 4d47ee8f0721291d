"""Test published claims on our scores.

A claim is an order of groups of pipelines: every pipeline of a group scores higher than every one
of the group before. Each such pair is tested. The claim's p-value is the largest of its pairs
(an intersection-union test; Berger, Technometrics 24, 1982), and Holm's step-down test corrects
for all claims of a study. A claim is

- *reproduced* if it is so separable, every seed has the order, and a claimed collapse is at least
  half the published one on the log scale;
- *not reproduced* if a pair is separably the other way round, if the gap is shown to be smaller
  than the bound while the published one is larger, or if a claimed collapse is shown to be none;
- *inconclusive* if the study cannot tell;
- *not testable here* if it lacks a row, a figure or an interval.

The gap is the smallest difference, over neighbouring groups, between the lowest score of the upper
group and the highest of the lower one; its interval is that of the bootstrap. For perplexity,
scores are logarithms and the gap is a factor. Published figures come from one run and have no
interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from compression_order.results.claims import Claim, Measure
from compression_order.results.published import Figure
from compression_order.results.scores import Scores
from compression_order.statistics import contrast, estimates, multiplicity, paired
from compression_order.statistics.estimates import Sample
from compression_order.statistics.multiplicity import ALPHA
from compression_order.statistics.paired import Array

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
INCONCLUSIVE, NOT_TESTABLE = "inconclusive", "not testable here"
SCALE = {"%": 0.01}  # published units that differ from those of our scores

Printed = Mapping[str, Figure]  # pipeline -> usable published figure of one measure


@dataclass(frozen=True)
class Finding:
    """The result for one claim.

    Attributes:
        name: of the claim.
        about: size, relation or ranking: what kind of statement it is.
        statement: the claim as a sentence.
        method: how it was tested.
        verdict: reproduced, not reproduced, inconclusive or not testable here.
        evidence: the numbers behind the verdict, or why there is none.
        rows: the published pipelines that it needs or uses.
        ours: the estimate, a factor, a difference, a share or a tau.
        low: lower end of its 95% interval.
        high: upper end.
        published: the same of the published figures.
    """

    name: str
    about: str
    statement: str
    method: str
    verdict: str
    evidence: str
    rows: Sequence[str] = ()
    ours: float | None = None
    low: float | None = None
    high: float | None = None
    published: float | None = None


class Gap(NamedTuple):
    """The smallest difference between neighbouring groups, and the pair that has it."""

    value: float
    lower: str
    upper: str


def gap(groups: Sequence[Sequence[str]], values: Mapping[str, float]) -> Gap:
    """The gap of one set of scores; positive where every group lies above the one before."""
    gaps = []
    for below, above in pairwise(groups):
        lower, upper = max(below, key=values.__getitem__), min(above, key=values.__getitem__)
        gaps.append(Gap(values[upper] - values[lower], lower, upper))
    return min(gaps)


def gaps(groups: Sequence[Sequence[str]], values: Mapping[str, Array]) -> Array:
    """The gap of each of many sets of scores: arrays of one length, over draws or seeds."""
    each = [
        np.min([values[p] for p in above], axis=0) - np.max([values[p] for p in below], axis=0)
        for below, above in pairwise(groups)
    ]
    least: Array = np.min(each, axis=0)
    return least


@dataclass(frozen=True)
class Tested:
    """A claim before it is known how many others are tested with it.

    Attributes:
        finding: what does not depend on the others; its verdict is the one without any doubt.
        p: of the claim, by its weakest pair; None where nothing is tested.
        against: of the contrary, by its strongest pair.
        smaller: why the claim fails whatever its direction; empty: it does not.
        open_: why it stays open though it is separable; empty: it does not.
        contrary: what the contrary is called.
    """

    finding: Finding
    p: float | None = None
    against: float = 1.0
    smaller: str = ""
    open_: str = ""
    contrary: str = "the other way round"

    def settled(self, p: float, against: float) -> Finding:
        """The finding, given the corrected p-values."""
        if p <= ALPHA and not self.smaller and not self.open_:
            return self.finding
        if against <= ALPHA:
            return self._but(NOT_REPRODUCED, self.contrary)
        if self.smaller:
            return self._but(NOT_REPRODUCED, self.smaller)
        return self._but(INCONCLUSIVE, self.open_ if p <= ALPHA else "not separable at 95%")

    def _but(self, verdict: str, why: str) -> Finding:
        evidence = f"{verdict} ({why}): {self.finding.evidence}"
        return replace(self.finding, verdict=verdict, evidence=evidence)


def settled(tested: Sequence[Tested]) -> list[Finding]:
    """The verdicts of all claims of a study, corrected together."""
    asked = [its for its in tested if its.p is not None]
    p = iter(multiplicity.holm([its.p or 0.0 for its in asked]))
    against = iter(multiplicity.holm([its.against for its in asked]))
    return [
        its.finding if its.p is None else its.settled(float(next(p)), float(next(against)))
        for its in tested
    ]


def claimed(
    claim: Claim, measure: Measure, ours: Scores | str, theirs: Printed, bound: float
) -> Tested:
    """Test one claim.

    Args:
        claim: the claim.
        measure: what it is about.
        ours: our scores, or why there are none.
        theirs: the published figures.
        bound: factor of perplexity up to which two count as equal.
    """
    common = (claim.name, "relation", claim.statement, _method(claim, measure, ours))
    why = _untestable(claim.pipelines, ours, theirs)
    if why or isinstance(ours, str):
        return Tested(Finding(*common, NOT_TESTABLE, why or str(ours), claim.pipelines))
    published = gap(claim.ascending, _values(theirs, ours.is_log))
    here = gap(claim.ascending, {name: ours.value(name) for name in claim.pipelines})
    low, high = ours.interval(lambda values: gaps(claim.ascending, values))
    told = [_factor(x, ours) for x in (here.value, low, high, published.value)]
    evidence = (
        f"{_told(here, told[0], told[1:3], ours)}; published {_printed(published, theirs, ours)}"
        f"{_rival(claim, ours, theirs)}"
    )
    if ours.sample is None or not np.isfinite(low):
        why = f"no interval, {ours.remark or 'there is one unit'}: {evidence}"
        return Tested(Finding(*common, NOT_TESTABLE, why, claim.pipelines, *told))
    tests = _tests(claim, ours.sample)
    finding = Finding(*common, REPRODUCED, evidence, claim.pipelines, *told)
    groups = sum(map(len, claim.ascending)) > 2
    return Tested(
        finding,
        tests.p,
        tests.against,
        _smaller(claim, tests, _values(theirs, ours.is_log), ours, bound),
        _open(claim, here.value, published.value, ours),
        "not in this order" if groups else "the other way round",
    )


class PairTests(NamedTuple):
    """The pairs of a claim, tested over sample and seeds.

    Attributes:
        p: of the claim.
        against: of its contrary, corrected for the pairs.
        pairs: lower and upper pipeline -> 95% interval of their difference.
    """

    p: float
    against: float
    pairs: Mapping[tuple[str, str], tuple[float, float]]


def _tests(claim: Claim, sample: Sample) -> PairTests:
    rows = list(sample.losses)
    pairs = [
        (lower, upper)
        for below, above in pairwise(claim.ascending)
        for lower in below
        for upper in above
    ]
    means = sample.seed_means[[rows.index(name) for name in claim.pipelines]]
    asked = estimates.matrix(rows, [contrast.pair(upper, lower) for lower, upper in pairs])
    found = estimates.contrasts(sample, asked, estimates.pooled(means))
    p = np.where(found.value > 0, found.p, 1.0)
    reversed_ = np.where(found.value < 0, found.p, 1.0)
    intervals = [(float(low), float(high)) for low, high in found.interval()]
    against = min(1.0, float(reversed_.min()) * len(pairs))
    return PairTests(float(p.max()), against, dict(zip(pairs, intervals, strict=True)))


def _smaller(
    claim: Claim, tests: PairTests, published: Mapping[str, float], ours: Scores, bound: float
) -> str:
    """Why a pair is shown to be too near for the claim; empty: none is."""
    most, collapse = float(np.log(bound)), gap(claim.ascending, published).value / 2
    for (lower, upper), (low, high) in tests.pairs.items():
        beyond = published[upper] - published[lower] > most
        if ours.is_log and beyond and -most < low and high < most:
            return f"{lower} and {upper} are equal within {bound:g}"
        if claim.collapse and high < collapse:
            return f"no collapse, which begins at {_factor(collapse, ours):.2f}"
    return ""


def _open(claim: Claim, here: float, published: float, ours: Scores) -> str:
    """Why a claim whose pairs are separable is still open; empty: it is not."""
    seeds = gaps(claim.ascending, {name: ours.seeds[name] for name in claim.pipelines})
    agreeing = int(np.sum(seeds > 0))
    if agreeing < len(seeds):
        return f"only {agreeing} of {len(seeds)} seeds have this order"
    if claim.collapse and here < published / 2:
        least = _factor(published / 2, ours)
        return f"in this order, but a collapse, which begins at {least:.2f}, is not shown"
    return ""


def _untestable(pipelines: Sequence[str], ours: Scores | str, theirs: Printed) -> str | None:
    """Why a claim about these pipelines cannot be tested, or None."""
    unprinted = [name for name in pipelines if name not in theirs]
    if unprinted:
        return f"no usable published figure of {', '.join(unprinted)}"
    if isinstance(ours, str):
        return ours
    absent = [name for name in pipelines if name not in ours.seeds]
    if absent:
        reasons = (f"{name} ({ours.left_out.get(name, 'not in this study')})" for name in absent)
        return f"it needs {', '.join(reasons)}"
    return None


def _values(figures: Printed, is_log: bool) -> dict[str, float]:
    """Published figures on the scale of our scores."""
    values = {name: figure.value * SCALE.get(figure.unit, 1) for name, figure in figures.items()}
    return {n: float(np.log(v)) for n, v in values.items()} if is_log else values


def _factor(value: float, ours: Scores) -> float:
    """A difference of scores as reported: a factor if scores are logarithms."""
    return float(np.exp(value)) if ours.is_log else value


def _span(low: float, high: float) -> str:
    return "(no interval)" if np.isnan(low) else f"[{low:.3f}, {high:.3f}]"


def _told(here: Gap, value: float, interval: Sequence[float], ours: Scores) -> str:
    span = _span(*interval)
    if ours.is_log:
        return f"{here.upper} has {value:.3f} {span} times the {ours.what} of {here.lower}"
    return f"{here.upper} is {value:+.3f} {span} above {here.lower} in {ours.what}"


def _printed(published: Gap, theirs: Printed, ours: Scores) -> str:
    upper, lower = theirs[published.upper].printed, theirs[published.lower].printed
    value = _factor(published.value, ours)
    if ours.is_log:
        return f"{value:.3f} ({published.upper} {upper} / {published.lower} {lower})"
    return f"{value:+.3f} ({published.upper} {upper} - {published.lower} {lower})"


def _rival(claim: Claim, ours: Scores, theirs: Printed) -> str:
    """The gap of the rival split, here and published, or nothing."""
    if not claim.rival:
        return ""
    here = gap(claim.rival, {name: ours.value(name) for name in claim.pipelines})
    low, high = ours.interval(lambda values: gaps(claim.rival, values))
    published = gap(claim.rival, _values(theirs, ours.is_log))
    told = _told(here, _factor(here.value, ours), [_factor(x, ours) for x in (low, high)], ours)
    split = " < ".join("{" + ", ".join(group) + "}" for group in claim.rival)
    return f"; split as {split}: {told}, published {_printed(published, theirs, ours)}"


def _ours(ours: Scores | str) -> str:
    """What stands for a published metric."""
    if isinstance(ours, str):
        return ""
    return f", ours: {ours.title}" + (f"; {ours.remark}" if ours.remark else "")


def _method(claim: Claim, measure: Measure, ours: Scores | str) -> str:
    order = " < ".join("{" + ", ".join(group) + "}" for group in claim.ascending)
    collapse = ", by at least half the published gap on the log scale" if claim.collapse else ""
    return (
        f"{measure.metric}{_ours(ours)}: {order}, every pair separable at 95%, corrected for all "
        f"claims{collapse}"
    )


def ranking(measure: Measure, ours: Scores | str, theirs: Printed) -> Tested:
    """Test a whole ranking: Kendall's tau-b of ours and the published one.

    Args:
        measure: what is ranked.
        ours: our scores, or why there are none.
        theirs: the published figures.
    """
    common = (
        f"ranking-{measure.name}",
        "ranking",
        f"The pipelines rank by {measure.name} as published",
        f"{measure.metric}{_ours(ours)}: Kendall's tau-b above 0 with its 95% interval over the "
        "sample, and no chance order at p < 0.05, corrected for all claims",
    )
    if isinstance(ours, str):
        return Tested(Finding(*common, NOT_TESTABLE, ours))
    both = {name: figure for name, figure in theirs.items() if name in ours.seeds}
    if len(both) < paired.FEWEST_RANKED:
        why = f"{len(both)} pipelines have both figures; at least {paired.FEWEST_RANKED} are needed"
        return Tested(Finding(*common, NOT_TESTABLE, why, tuple(both)))
    values = {name: ours.value(name) for name in both}
    found = paired.tau(values, ours.draws, ours.units, _values(both, ours.is_log))
    evidence = (
        f"tau {found.value:.3f} {_span(found.low, found.high)} over {len(both)} pipelines, "
        f"p {found.p:.2g}; the published ranking has no interval"
    )
    if np.isnan(found.low):
        why = f"no interval, {ours.remark or 'all pipelines tie or there is one unit'}: {evidence}"
        return Tested(Finding(*common, NOT_TESTABLE, why, tuple(both), found.value))
    finding = Finding(*common, REPRODUCED, evidence, tuple(both), *found[:3])
    agrees, reverses = (found.p if side else 1.0 for side in (found.low > 0, found.high < 0))
    return Tested(finding, agrees, reverses)
