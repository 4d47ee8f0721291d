"""Paired uncertainty against hand computations, scipy, and data whose answer is known."""

import math

import numpy as np
import pytest
from scipy import stats

from compression_order.statistics import paired


def test_equal_weights_give_the_textbook_mean_and_error() -> None:
    values = [1.0, 2.0, 4.0, 9.0]
    estimate = paired.mean_se(values)
    assert estimate.value == pytest.approx(4.0)
    assert estimate.se == pytest.approx(stats.sem(values))


def test_token_weights_by_hand() -> None:
    # d = 0.1, 0.4 with weights 1, 3: m = 1.3 / 4 = 0.325;
    # n / (n - 1) = 2, squares = (0.225)^2 + (3 * 0.075)^2 = 0.10125, se = sqrt(0.2025) / 4
    estimate = paired.log_ratio([2.1, 3.4], [2.0, 3.0], [1, 3])
    assert estimate.value == pytest.approx(0.325)
    assert estimate.se == pytest.approx(0.45 / 4)
    ratio = paired.ratio([2.1, 3.4], [2.0, 3.0], [1, 3])
    assert ratio.value == pytest.approx(math.exp(0.325))
    assert ratio.se == pytest.approx(math.exp(0.325) * 0.45 / 4)


def test_ratio_is_the_ratio_of_perplexities() -> None:
    rng = np.random.default_rng(0)
    a, b, w = rng.normal(3, 1, 40), rng.normal(2, 1, 40), rng.integers(1, 500, 40)
    ours, base = np.exp(np.average(a, weights=w)), np.exp(np.average(b, weights=w))
    assert paired.ratio(a, b, w).value == pytest.approx(ours / base)


def test_several_seeds_average_the_ratios() -> None:
    base = np.array([[2.0, 3.0, 2.5], [2.0, 3.0, 2.5]])
    ours = base + np.array([[0.1, 0.3, 0.2], [0.2, 0.6, 0.4]])
    one, two = (paired.ratio(ours[i], base[i], np.ones(3)) for i in (0, 1))
    both = paired.ratio(ours, base, np.ones(3))
    assert both.value == pytest.approx((one.value + two.value) / 2)
    # the seeds err together here, so the error does not shrink with their number
    assert both.se == pytest.approx((one.se + two.se) / 2)


def test_z_of_identical_and_of_constantly_different_models() -> None:
    losses = np.array([1.0, 2.0, 4.0])
    assert paired.z(losses, losses, np.ones(3)) == 0
    assert paired.z(losses + 1, losses, np.ones(3)) == math.inf
    assert paired.z(losses - 1, losses, np.ones(3)) == -math.inf
    assert not paired.separable(1.9)
    assert paired.separable(-2.0)


def test_z_agrees_with_the_paired_t_statistic() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(3, 1, 50), rng.normal(3.1, 1, 50)
    assert paired.z(a, b, np.ones(50)) == pytest.approx(stats.ttest_rel(a, b).statistic)


def test_one_unit_has_no_error() -> None:
    assert math.isnan(paired.ratio([1.0], [2.0], [10]).se)
    assert not paired.separable(paired.z([1.0], [2.0], [10]))


def test_units_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="3 and 2 units"):
        paired.ratio([1, 2, 3], [1, 2], [1, 1, 1])
    with pytest.raises(ValueError, match="different shapes"):
        paired.mcnemar([1, 0], [1])


@pytest.mark.parametrize("weighted", [False, True])
def test_the_95_interval_covers_the_truth_95_times_in_100(weighted: bool) -> None:
    rng = np.random.default_rng(7)
    truth, draws, units, hits = 0.1, 1000, 200, 0
    for _ in range(draws):
        shared = rng.normal(3, 1, units)
        base = shared + rng.normal(0, 0.1, units)
        ours = shared + truth + rng.normal(0, 0.1, units)
        weights = rng.integers(100, 512, units) if weighted else np.ones(units)
        estimate = paired.log_ratio(ours, base, weights)
        hits += abs(estimate.value - truth) < paired.Z_95 * estimate.se
    assert 0.93 < hits / draws < 0.97


def test_pairing_is_much_tighter_than_two_separate_scores() -> None:
    rng = np.random.default_rng(3)
    shared = rng.normal(3, 1, 300)
    base, ours = shared + rng.normal(0, 0.1, 300), shared + rng.normal(0.1, 0.1, 300)
    together = paired.log_ratio(ours, base, np.ones(300)).se
    apart = math.hypot(paired.mean_se(ours).se, paired.mean_se(base).se)
    assert apart > 5 * together


def test_bootstrap_is_seeded_and_agrees_with_the_delta_method() -> None:
    rng = np.random.default_rng(5)
    base = rng.normal(3, 1, 400)
    ours, weights = base + rng.normal(0.2, 0.3, 400), rng.integers(100, 512, 400)

    def interval(seed: int = 0) -> tuple[float, float]:
        drawn = np.exp(paired.bootstrap_means(ours - base, weights, seed=seed))
        return paired.expanded_interval(drawn, 400)

    low, high = interval()
    assert (low, high) == interval()
    assert (low, high) != interval(seed=1)
    estimate = paired.ratio(ours, base, weights)
    assert low < estimate.value < high
    assert high - low == pytest.approx(2 * paired.Z_95 * estimate.se, rel=0.1)


def test_binomial_error_is_that_of_lm_eval() -> None:
    correct = np.array([1] * 13 + [0] * 7)
    # lm-eval: sample standard deviation over sqrt(n)
    assert paired.mean_se(correct).se == pytest.approx(correct.std(ddof=1) / math.sqrt(20))
    assert paired.mean_se(correct).se == pytest.approx(math.sqrt(0.65 * 0.35 / 19))
    assert math.isnan(paired.mean_se([1.0]).se)


def test_binomial_interval_is_exact() -> None:
    low, high = paired.binomial_interval(3, 20)
    assert stats.binom.sf(2, 20, low) == pytest.approx(0.025)
    assert stats.binom.cdf(3, 20, high) == pytest.approx(0.025)
    for right in (0, 1, 57, 119, 120):
        theirs = stats.binomtest(right, 120).proportion_ci(0.997, method="exact")
        assert paired.binomial_interval(right, 120, 0.997) == pytest.approx(tuple(theirs))


def test_mcnemar_by_hand() -> None:
    # the first alone is right 5 times, the second once: 2 * (C(6,0) + C(6,1)) / 2^6 = 14 / 64
    first = [1] * 5 + [0] + [1] * 10 + [0] * 4
    second = [0] * 5 + [1] + [1] * 10 + [0] * 4
    assert paired.mcnemar(first, second) == pytest.approx(14 / 64)
    assert paired.mcnemar(second, first) == paired.mcnemar(first, second)
    assert paired.mcnemar(first, first) == 1.0
