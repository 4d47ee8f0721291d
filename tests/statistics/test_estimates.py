"""Each statistic of the analysis against an independent implementation, and its coverage."""

import math
from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint

from compression_order.findings import comparisons, flips, simple_effects
from compression_order.statistics import (
    contrast,
    estimates,
    moderated,
    multiplicity,
    normal_power,
    paired,
    power,
)
from compression_order.statistics.estimates import Effects, Sample, Spread

DRAWS = 1000
PAIR = contrast.pair("A-B-C", "B-A-C")
ROWS = ("A-B-C", "A-C-B", "B-A-C", "B-C-A", "C-A-B", "C-B-A")


def sample(
    rng: np.random.Generator,
    seeds: int,
    units: int,
    sds: Sequence[float] = (0.03, 0.12, 0.05),
    step: float = 0.1,
    weighted: bool = False,
    rows: Sequence[str] = ROWS,
) -> Sample:
    """Rows `step` nats apart; `sds` of the difference of two over seeds, units and both."""
    seed_sd, unit_sd, both_sd = (sd / math.sqrt(2) for sd in sds)
    shared = rng.normal(3, 0.5, units) + rng.normal(0, 0.05, (seeds, 1))
    losses = {
        row: shared
        + step * nth
        + rng.normal(0, seed_sd, (seeds, 1))
        + rng.normal(0, unit_sd, units)
        + rng.normal(0, both_sd, (seeds, units))
        for nth, row in enumerate(rows)
    }
    weights = rng.integers(100, 512, units).astype(float) if weighted else np.ones(units)
    return Sample("text", f"{units} documents", losses, weights, 200.0, {})


def of_pair(made: Sample, spread: Spread | None = None) -> Effects:
    """The effect of the pair alone."""
    return estimates.contrasts(made, estimates.matrix(list(made.losses), [PAIR]), spread)


# against other implementations


def test_one_seed_is_the_paired_t_test() -> None:
    made = sample(np.random.default_rng(0), 1, 30)
    effect = of_pair(made)
    theirs = stats.ttest_rel(made.losses["A-B-C"][0], made.losses["B-A-C"][0])
    assert effect.p == pytest.approx(theirs.pvalue)
    for level in (0.95, 0.99):
        assert effect.interval(level)[0] == pytest.approx(theirs.confidence_interval(level))
    assert effect.seed_sd is None


def test_token_weights_are_weighted_least_squares_with_robust_errors() -> None:
    made = sample(np.random.default_rng(1), 1, 25, weighted=True)
    effect = of_pair(made)
    d = made.losses["A-B-C"][0] - made.losses["B-A-C"][0]
    fit = sm.WLS(d, np.ones((25, 1)), weights=made.weights).fit(cov_type="HC1", use_t=True)
    assert effect.value == pytest.approx(fit.params[0])
    assert effect.se == pytest.approx(fit.bse[0])
    assert effect.p == pytest.approx(fit.pvalues[0])


def frame(values: np.ndarray, one: str, other: str) -> pd.DataFrame:
    """A matrix in long form."""
    rows = [
        {one: f"a{i}", other: f"b{j}", "value": values[i, j]} for i, j in np.ndindex(values.shape)
    ]
    return pd.DataFrame(rows)


def test_seeds_and_units_have_the_variance_of_a_two_way_table() -> None:
    made = sample(np.random.default_rng(2), 4, 20, sds=(0.1, 0.3, 0.05))
    d = made.losses["A-B-C"] - made.losses["B-A-C"]
    squares = anova_lm(ols("value ~ C(seed) + C(unit)", frame(d, "seed", "unit")).fit())["mean_sq"]
    theirs = (squares["C(seed)"] + squares["C(unit)"]) / d.size
    effect = of_pair(made)
    assert effect.value == pytest.approx(d.mean())
    assert effect.se**2 == pytest.approx(theirs)
    assert effect.seed_sd == pytest.approx(d.mean(axis=1).std(ddof=1))
    # Satterthwaite, written out
    of_seeds, of_units = squares["C(seed)"] / d.size, squares["C(unit)"] / d.size
    assert effect.df == pytest.approx(theirs**2 / (of_seeds**2 / 3 + of_units**2 / 19))


def test_contrasts_of_many_are_those_of_each_alone() -> None:
    """More of them than a block holds, pairs and averages, with a spread and without."""
    rows = tuple(f"r{nth}" for nth in range(40))
    for seeds in (1, 3):
        made = sample(np.random.default_rng(13), seeds, 12, weighted=True, rows=rows)
        two = np.array(np.triu_indices(len(rows), 1))
        assert two.shape[1] > estimates.BLOCK
        known = Spread(np.where(two[0] % 2, 0.01, np.nan), np.full(two.shape[1], 7.0))
        many = estimates.contrasts(made, estimates.pairs(two, len(rows)), known)
        for nth in (0, 1, estimates.BLOCK - 1, estimates.BLOCK, two.shape[1] - 1):
            asked = contrast.pair(*(rows[at] for at in two[:, nth]))
            own = Spread(0.01, 7) if two[0, nth] % 2 else None
            one = estimates.contrasts(made, estimates.matrix(rows, [asked]), own)
            for name in ("value", "se", "df", "unit_se", "unit_sd", "p"):
                assert getattr(many, name)[nth] == pytest.approx(getattr(one, name)[0])
            assert many.interval(0.99)[nth] == pytest.approx(one.interval(0.99)[0])


def test_pooled_spread_is_the_residual_of_rows_and_seeds() -> None:
    made = sample(np.random.default_rng(3), 3, 20)
    spread = estimates.pooled(made.seed_means)
    assert spread is not None
    means = np.array([made.losses[row].mean(axis=1) for row in ROWS])
    table = anova_lm(ols("value ~ C(row) + C(seed)", frame(means, "row", "seed")).fit())
    assert spread.variance == pytest.approx(table["mean_sq"]["Residual"])
    assert spread.df == table["df"]["Residual"] == 10
    # of two orders alone it is their own
    two = estimates.pooled(np.array([made.means(row) for row in PAIR]))
    both = of_pair(made, two), of_pair(made)
    for pooled, own in zip(*map(astuple, both), strict=True):
        assert pooled == pytest.approx(own)


def test_corrections_are_those_of_statsmodels_and_scipy() -> None:
    rng = np.random.default_rng(4)
    for count in (1, 2, 15, 120):
        p = rng.uniform(0, 1, count) ** 4
        assert multiplicity.holm(p) == pytest.approx(multipletests(p, method="holm")[1])
        verdicts = multiplicity.corrected(p)
        assert verdicts.p_bh == pytest.approx(multipletests(p, method="fdr_bh")[1])
        assert verdicts.p_bh == pytest.approx(stats.false_discovery_control(p))
        by_bonferroni = multipletests(p, method="bonferroni")[0]
        assert verdicts.separable.tolist() == list(by_bonferroni)
        assert (verdicts.p_holm[verdicts.separable] <= 0.05).all()
    assert len(multiplicity.corrected([]).p) == 0


def test_mcnemar_and_its_interval_are_those_of_statsmodels() -> None:
    rng = np.random.default_rng(5)
    right = rng.integers(0, 2, (4, 1, 60)).astype(float)
    right[3] = right[2]  # no question that one alone answers right
    answers = flips.Answers(list("abcd"), right, right)
    found = flips.tested(answers, answers.every_two(answers.rows))
    for nth, (a, b) in enumerate(found.two.T):
        first, second = right[a], right[b]
        pairs = [[int(np.sum((first == x) & (second == y))) for y in (0, 1)] for x in (0, 1)]
        assert found.verdicts.p[nth] == pytest.approx(mcnemar(pairs, exact=True).pvalue)
        only, either = pairs[1][0], pairs[1][0] + pairs[0][1]
        for level, ours in ((0.05, found.share), (0.05 / 6, found.simultaneous)):
            theirs = proportion_confint(only, either, level, "beta") if either else (0, 1)
            assert ours[nth] == pytest.approx(theirs)


def test_seeds_that_disagree_about_the_direction_show_nothing() -> None:
    first, second = np.array([[9, 8], [9, 0], [9, 9]]), np.array([[0, 1], [0, 9], [0, 0]])
    p = flips.p_values(first, second)
    assert p.tolist() == [paired.sign_test(8, 1), 1.0, paired.sign_test(9, 0)]
    low, high = flips.share(first, second, 0.95)[0]
    assert (low, high) == (
        paired.binomial_interval(8, 9)[0],
        paired.binomial_interval(9, 9)[1],
    )


@pytest.mark.parametrize(("effect", "sd", "alpha"), [(0.05, 0.12, 0.05), (0.02, 0.12, 0.05 / 15)])
def test_units_needed_are_those_of_statsmodels(effect: float, sd: float, alpha: float) -> None:
    theirs = TTestPower().solve_power(effect / sd, alpha=alpha, power=power.POWER)
    found = power.units_needed(effect, sd, alpha)
    assert found == math.ceil(theirs)
    assert found is not None
    assert power.power_of(effect, sd, found, alpha) >= power.POWER
    assert power.smallest_effect(sd, found, alpha) == pytest.approx(effect, rel=0.02)
    # what a plan says without scipy
    assert abs(normal_power.units_needed(effect, sd, alpha) - found) <= 1
    assert normal_power.smallest_effect(sd, found, alpha) == pytest.approx(effect, rel=0.02)


def test_power_at_its_ends() -> None:
    assert power.units_needed(1e-9, 1.0) is None
    assert power.units_needed(0.1, 0.0) == 2
    assert power.smallest_effect(0.1, 1) == math.inf
    assert normal_power.questions_needed(0.2, 0.1) is None
    assert normal_power.smallest_difference(5, 0.1) is None


def test_questions_needed_find_the_difference_in_eight_of_ten_studies() -> None:
    flipped, difference = 0.2, 0.1
    count = normal_power.questions_needed(difference, flipped)
    assert count is not None
    rng = np.random.default_rng(6)
    shares = [(flipped + difference) / 2, (flipped - difference) / 2, 1 - flipped]
    draws = rng.multinomial(count, shares, 2000)
    p = stats.binomtest
    found = np.mean([p(a, a + b, 0.5).pvalue <= 0.05 for a, b, _ in draws if a + b])
    assert 0.74 < found < 0.84  # exact test: a little less than the formula's 0.8
    assert normal_power.smallest_difference(count, flipped) == pytest.approx(difference, rel=0.01)


# coverage, on data whose answer is known


@pytest.mark.parametrize(
    ("seeds", "units", "sds", "weighted"),
    [
        (1, 48, (0, 0.12, 0.05), False),
        (1, 48, (0, 0.12, 0.05), True),
        (3, 48, (0.03, 0.12, 0.05), False),
        (3, 48, (0.1, 0.12, 0.05), False),
        (3, 24, (0.03, 0.12, 0.05), True),
        (5, 12, (0.03, 0.12, 0.05), False),
    ],
)
def test_the_95_interval_covers_the_truth_95_times_in_100(
    seeds: int, units: int, sds: tuple[float, ...], weighted: bool
) -> None:
    rng, hits = np.random.default_rng(7), 0
    for _ in range(DRAWS):
        made = sample(rng, seeds, units, sds, weighted=weighted)
        low, high = of_pair(made, estimates.pooled(made.seed_means)).interval()[0]
        hits += low < -0.2 < high
    assert 0.93 <= hits / DRAWS <= 0.97


@pytest.mark.parametrize(("seeds", "least"), [(2, 0.85), (3, 0.91), (5, 0.93)])
def test_without_pooling_few_seeds_cover_too_little(seeds: int, least: float) -> None:
    """What docs/statistics.md says of rows of different stages."""
    rng, hits = np.random.default_rng(12), 0
    for _ in range(DRAWS):
        made = sample(rng, seeds, 48, (0.1, 0.12, 0.05), rows=tuple(PAIR))
        low, high = of_pair(made).interval()[0]
        hits += low < -0.1 < high
    assert least <= hits / DRAWS <= 0.97


def test_an_interval_over_text_alone_is_too_narrow_for_seeds_that_differ() -> None:
    """Why the seeds are in the interval."""
    rng, hits = np.random.default_rng(8), 0
    for _ in range(DRAWS):
        made = sample(rng, 3, 48, (0.1, 0.12, 0.05))
        effect = of_pair(made)
        hits += abs(effect.value + 0.2) < stats.t.ppf(0.975, 47) * effect.unit_se
    assert hits / DRAWS < 0.6


@pytest.mark.parametrize(("seeds", "step"), [(1, 0.1), (3, 0.0)])
def test_all_intervals_of_a_family_hold_together(seeds: int, step: float) -> None:
    """In at least 95 of 100 studies; with equal orders, no more than 5 find anything."""
    rng, hits, studies = np.random.default_rng(9), 0, 400
    pairs = np.array([(a, b) for a in range(6) for b in range(a)]).T
    level = multiplicity.simultaneous_level(pairs.shape[1])
    for _ in range(studies):
        made = sample(rng, seeds, 48, (0.03 * (seeds > 1), 0.12, 0.05), step)
        asked = estimates.pairs(pairs, len(ROWS))
        effects = estimates.contrasts(made, asked, estimates.pooled(made.seed_means))
        low, high = effects.interval(level).T
        truth = step * (pairs[0] - pairs[1])
        hits += bool(np.all((low < truth) & (truth < high)))
    assert hits / studies >= 0.94


EQUAL_SEEDS, UNEQUAL_SEEDS = [0.02] * 6, [0.03, 0.01, 0.03, 0.02, 0.01, 0.015]
ONE_UNRULY_ORDER = [0.05, *[0.01] * 5]


@pytest.mark.parametrize(
    ("sds", "correlation", "least"),
    [
        (EQUAL_SEEDS, 0.0, 0.94),
        (EQUAL_SEEDS, 0.7, 0.93),
        (UNEQUAL_SEEDS, 0.0, 0.92),
        (UNEQUAL_SEEDS, 0.7, 0.9),
        (ONE_UNRULY_ORDER, 0.0, 0.85),
    ],
)
def test_the_primary_family_holds_together_where_seeds_are_unequal_and_correlated(
    sds: Sequence[float], correlation: float, least: float
) -> None:
    """The whole procedure of the certainty study: five seeds, 300 conversations, token weights.

    Orders that begin with the same stage share that part of their seeds' spread.
    """
    rows = ("P-KD-Q", "P-Q-KD", "KD-P-Q", "KD-Q-P", "Q-P-KD", "Q-KD-P")
    kinds = {"P": "prune", "KD": "distill", "Q": "quantize"}
    family = [c for _, c in simple_effects.asked(rows, kinds)]
    swaps = [("P-KD-Q", "KD-P-Q"), ("Q-P-KD", "Q-KD-P"), ("P-Q-KD", "P-KD-Q")]
    family += [contrast.pair(*swap) for swap in swaps]
    asked, level = estimates.matrix(rows, family), multiplicity.simultaneous_level(len(family))
    first = [("P", "KD", "Q").index(row.split("-")[0]) for row in rows]
    rng, hits, studies, seeds, units = np.random.default_rng(14), 0, 300, 5, 300
    for _ in range(studies):
        common, own = rng.normal(0, 1, (3, seeds)), rng.normal(0, 1, (6, seeds))
        drawn = math.sqrt(correlation) * common[first] + math.sqrt(1 - correlation) * own
        losses = (np.array(sds)[:, None] * drawn)[:, :, None]
        losses = losses + rng.normal(0, 0.085, (6, 1, units)) + rng.normal(0, 0.03, (6, 5, units))
        tokens = rng.integers(30, 500, units).astype(float)
        made = Sample("text", "300 documents", dict(zip(rows, losses, strict=True)), tokens, 1, {})
        effects = estimates.contrasts(made, asked, estimates.pooled(made.seed_means))
        low, high = effects.interval(level).T
        hits += bool(np.all((low < 0) & (high > 0)))
    assert hits / studies >= least


def test_moderated_variances_are_those_of_the_prior_they_were_drawn_from() -> None:
    """Variances of four degrees drawn from a scaled inverse chi-square: both numbers come back."""
    rng = np.random.default_rng(15)
    prior_df, prior, df = 8.0, 0.02, 4
    true = prior * prior_df / rng.chisquare(prior_df, 20_000)
    seen = true * rng.chisquare(df, len(true)) / df
    found = moderated.moderated(seen, df)
    assert found.df == pytest.approx(prior_df + df, rel=0.1)
    drawn = np.asarray(found.variance)
    assert np.mean((drawn - true) ** 2) < 0.5 * np.mean((seen - true) ** 2)
    # t values of no effect have the distribution that the degrees say
    t = rng.normal(0, np.sqrt(true)) / np.sqrt(drawn)
    assert np.mean(np.abs(t) > stats.t.ppf(0.975, found.df)) == pytest.approx(0.05, abs=0.005)


def test_equal_variances_are_drawn_to_one() -> None:
    found = moderated.moderated(np.full(8, 0.3), 4)
    assert found.df > 1e5
    assert np.ptp(found.variance) < 1e-6


def test_the_bootstrap_interval_covers_too_and_agrees_with_the_t_interval() -> None:
    rng, hits = np.random.default_rng(10), 0
    for _ in range(DRAWS):
        made = sample(rng, 1, 48, (0, 0.12, 0.05), rows=tuple(PAIR))
        drawn = paired.bootstrap_means(
            made.losses["A-B-C"][0] - made.losses["B-A-C"][0], made.weights, 500
        )
        low, high = paired.expanded_interval(drawn, 48)
        hits += low < -0.1 < high
    assert 0.93 <= hits / DRAWS <= 0.97
    made = sample(rng, 1, 400)
    drawn = comparisons.Text.of(made, 1.05).draws
    theirs = paired.expanded_interval(drawn["A-B-C"] - drawn["B-A-C"], 400)
    assert of_pair(made).interval()[0] == pytest.approx(theirs, abs=0.003)


def test_the_interval_of_mcnemar_holds_the_true_share() -> None:
    """An exact interval never covers less than it says."""
    kind = np.random.default_rng(11).choice(3, (DRAWS, 1, 150), p=[0.14, 0.06, 0.8])
    low, high = flips.share(np.sum(kind == 0, axis=2), np.sum(kind == 1, axis=2), 0.95).T
    hits = np.mean((low <= 0.7) & (high >= 0.7))
    assert 0.95 <= hits < 0.99
