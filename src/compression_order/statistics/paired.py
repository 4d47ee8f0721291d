"""Uncertainty of comparisons between models that were scored on the same sample.

Two models that read the same windows, documents or questions make much the same errors, so
the difference of their losses varies far less than either loss. Every comparison here is
therefore paired: it looks at differences per unit (window, document, question), never at two
separate scores.

Formulas. With losses a_i and b_i (nats per token) of unit i, d_i = a_i - b_i and weights w_i,
the log of the perplexity ratio is the weighted mean

    m = sum(w_i d_i) / sum(w_i),    se(m) = sqrt(n / (n - 1) * sum(w_i^2 (d_i - m)^2)) / sum(w_i),

the linearized standard error of a ratio estimate with units as clusters (Cochran, Sampling
Techniques, 3rd edition, chapter 6); equal weights give the usual s / sqrt(n). The ratio is
exp(m), and its standard error exp(m) se(m) by the delta method. Pairing of evaluation scores
is argued in Miller, "Adding Error Bars to Evals", arXiv 2411.00640. The weights are the
predicted tokens for `windows`, all one for `documents`.

Losses may have the shape [units], or [seeds, units] for replicates on the same units. The
standard errors then answer "with these seeds, another sample of text": spread over seeds is
reported on its own.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import scipy  # its parts are imported at first use
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Z_95 = 1.959964  # two-sided 95% of the normal distribution
FEWEST_RANKED = 5  # items: with fewer no order, however equal, has a p-value below 0.05


class Estimate(NamedTuple):
    """A value and its standard error; the error is NaN with fewer than two units."""

    value: float
    se: float


def mean_se(values: ArrayLike, weights: ArrayLike | None = None) -> Estimate:
    """Weighted mean over units with its standard error; no weights means equal weights."""
    x = np.asarray(values, dtype=np.float64)
    mean, se = means_and_errors(x[None], np.ones_like(x) if weights is None else weights)
    return Estimate(float(mean[0]), float(se[0]))


def means_and_errors(values: ArrayLike, weights: ArrayLike) -> tuple[Array, Array]:
    """The same for many: [many, units] gives the means and their standard errors, [many]."""
    x, w = np.asarray(values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    units = x.shape[1]
    means: Array = np.sum(w * x, axis=1) / np.sum(w)
    if units < 2:
        return means, np.full(len(x), math.nan)
    squares = np.sum((w * (x - means[:, None])) ** 2, axis=1) * units / (units - 1)
    return means, np.sqrt(squares) / np.sum(w)


def log_ratio(losses: ArrayLike, reference: ArrayLike, weights: ArrayLike) -> Estimate:
    """Log of perplexity over reference perplexity, the mean over seeds where there are several."""
    return mean_se(_differences(losses, reference).mean(axis=0), weights)


def ratio(losses: ArrayLike, reference: ArrayLike, weights: ArrayLike) -> Estimate:
    """Perplexity over reference perplexity, averaged over seeds, by the delta method.

    The average r of the ratios r_s = exp(m_s) moves with unit i as mean over s of
    r_s (d_si - m_s), so its standard error is that of the mean of these values.
    """
    w = np.asarray(weights, dtype=np.float64)
    d = _differences(losses, reference)
    means = (d * w).sum(axis=1) / w.sum()
    ratios = np.exp(means)
    influence = (ratios[:, None] * (d - means[:, None])).mean(axis=0)
    return Estimate(float(ratios.mean()), mean_se(influence, w).se)


def z(losses: ArrayLike, other: ArrayLike, weights: ArrayLike) -> float:
    """Paired z of two models; positive where the first has the higher perplexity.

    Identical losses give 0, a constant difference without any variation plus or minus infinity.
    """
    estimate = log_ratio(losses, other, weights)
    if estimate.value == 0:
        return 0.0
    if estimate.se == 0:
        return math.copysign(math.inf, estimate.value)
    return estimate.value / estimate.se


def separable(score: float) -> bool:
    """Whether a z tells two models apart at 95%, two-sided."""
    return abs(score) > Z_95


def bootstrap_means(
    values: ArrayLike, weights: ArrayLike, draws: int = 2000, seed: int = 0
) -> Array:
    """Weighted means over redrawn units: [..., units] gives [..., draws].

    Whole units are drawn with replacement, the same ones for every row, so that rows stay
    paired in each draw. `seed` fixes the draws.
    """
    w = np.asarray(weights, dtype=np.float64)
    picked = np.random.default_rng(seed).multinomial(len(w), np.full(len(w), 1 / len(w)), draws)
    means: Array = (np.asarray(values, dtype=np.float64) * w) @ picked.T / (picked @ w)
    return means


def expanded_interval(draws: ArrayLike, units: int, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap draws, [draws], widened for few units.

    A bootstrap of n units spreads sqrt((n - 1) / n) times too little and ignores that the spread
    is itself estimated. The quantiles are therefore taken at Phi(-+ sqrt(n / (n - 1)) t), with t
    the quantile of Student's distribution with n - 1 degrees of freedom (Hesterberg, "What
    Teachers Should Know About the Bootstrap", The American Statistician 69, 2015, section 3.4).
    NaN with fewer than two units.
    """
    low, high = expanded_intervals(np.asarray(draws)[None], units, level)[0]
    return float(low), float(high)


def expanded_intervals(draws: ArrayLike, units: int, level: float = 0.95) -> Array:
    """The same for many: [many, draws] gives [many, 2]."""
    drawn = np.asarray(draws, dtype=np.float64)
    if units < 2:
        return np.full((len(drawn), 2), math.nan)
    beyond = scipy.stats.t.ppf((1 + level) / 2, units - 1) * math.sqrt(units / (units - 1))
    at = scipy.stats.norm.cdf([-beyond, beyond])
    ends: Array = np.quantile(drawn, at, axis=1).T
    return ends


def binomial_interval(
    right: ArrayLike, samples: ArrayLike, level: float = 0.95
) -> tuple[Array, Array]:
    """Exact intervals of shares of right answers (Clopper and Pearson), both ends.

    The ends are quantiles of beta distributions; 0 without a right answer, 1 without a wrong one
    (Brown, Cai and DasGupta, "Interval Estimation for a Binomial Proportion", Statistical Science
    16, 2001, section 4.2.1).
    """
    k, n = np.asarray(right, dtype=np.float64), np.asarray(samples, dtype=np.float64)
    beyond = (1 - level) / 2
    low = scipy.stats.beta.ppf(beyond, k, n - k + 1)  # NaN where a parameter is 0
    high = scipy.stats.beta.ppf(1 - beyond, k + 1, n - k)
    return np.where(k == 0, 0.0, low), np.where(k == n, 1.0, high)


def mcnemar(correct: ArrayLike, other: ArrayLike) -> float:
    """Exact two-sided p-value that two models answer the same questions equally well.

    Only the questions that one of them alone answers right carry information (McNemar 1947);
    without any, the p-value is 1. Of scores it is the sign test: the questions on which one of
    them scores higher.
    """
    a, b = np.asarray(correct, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"answers of different shapes cannot be paired: {a.shape} and {b.shape}")
    return float(sign_test(np.sum(a > b), np.sum(a < b)))


def sign_test(first: ArrayLike, second: ArrayLike) -> Array:
    """Exact two-sided p-values of even odds (Dixon and Mood, JASA 41, 1946).

    At even odds the distribution is symmetrical, so p is twice the smaller tail, at most 1.

    Args:
        first: how often one side is ahead.
        second: how often the other is.
    """
    fewer, either = np.minimum(first, second), np.add(first, second)
    p: Array = np.minimum(1.0, 2 * scipy.stats.binom.cdf(fewer, either, 0.5))
    return p


def _differences(losses: ArrayLike, reference: ArrayLike) -> Array:
    """Loss differences of shape [seeds, units]."""
    a = np.atleast_2d(np.asarray(losses, dtype=np.float64))
    b = np.atleast_2d(np.asarray(reference, dtype=np.float64))
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"{a.shape[1]} and {b.shape[1]} units cannot be paired")
    return a - b


class Tau(NamedTuple):
    """tau-b, its 95% interval, and the p-value of no association (exact without ties).

    Two different doubts: the interval is about the sample that our scores come from, the
    p-value about so few items falling into the same order by chance.
    """

    value: float
    low: float
    high: float
    p: float


def tau(
    values: Mapping[str, float],
    draws: Mapping[str, Array],
    units: int,
    reference: Mapping[str, float],
) -> Tau:
    """Kendall's tau-b of our ranking and a reference that has no uncertainty of its own.

    tau-b = (concordant - discordant pairs) / sqrt(pairs not tied here * pairs not tied there); 1
    is the same order, -1 the reverse (Kendall, "The Treatment of Ties in Ranking Problems",
    Biometrika 33, 1945).

    The interval is the bootstrap's: the items are ranked again in every draw, with the same
    units drawn for every item. All items tied on one side gives NaN.

    Args:
        values: item -> our score.
        draws: item -> our score in each draw, [draws].
        units: how many units the draws were made of.
        reference: item -> the other score; its items are compared.
    """
    theirs = np.array(list(reference.values()))
    ours = np.array([values[name] for name in reference])
    whole = scipy.stats.kendalltau(ours, theirs)
    again = np.array([draws[name] for name in reference]).T
    drawn = scipy.stats.kendalltau(again, np.broadcast_to(theirs, again.shape), axis=1).statistic
    low, high = (math.nan, math.nan)
    if math.isfinite(whole.statistic):
        # a draw in which all tie ranks nothing: no agreement
        low, high = expanded_interval(np.nan_to_num(drawn), units)
    return Tau(float(whole.statistic), low, high, float(whole.pvalue))
