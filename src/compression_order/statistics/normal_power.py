"""What a difference of a given size needs, by the normal distribution: pure Python, for plans.

Sizes are for a two-sided test with 80% power. Questions: McNemar's test by Connor's formula
(Biometrics 43, 1987), (z_a sqrt(f) + z_b sqrt(f - e^2))^2 / e^2 for an accuracy difference e
where a share f of the questions is answered right by one of the two alone. Units: a paired
t-test by Guenther's formula (The American Statistician 35, 1981),
((z_a + z_b) sd / e)^2 + z_a^2 / 2; `power.py` has the exact sizes, which for fewer than ten units
are larger.
"""

import math
from statistics import NormalDist

POWER = 0.8
MOST = 10**7  # more than anybody will score
# paired standard deviation, nats per token, between two orders at full compression: the median
# over all 15 pairs of six orders, 48 conversations of 193 tokens (docs/findings.md)
PAIRED_SD = 0.13
# standard deviation over seeds of one order's log perplexity beside the others' there, nats
SEED_SD = 0.015
FLIPS = 0.1  # share of questions that one of two orders alone answers right, assumed


def beyond(alpha: float) -> float:
    """How many standard errors a two-sided interval reaches."""
    return NormalDist().inv_cdf(1 - alpha / 2)


def units_needed(effect: float, sd: float, alpha: float = 0.05) -> int:
    """The fewest units that find an effect, nats."""
    z = beyond(alpha)
    return math.ceil(((z + NormalDist().inv_cdf(POWER)) * sd / effect) ** 2 + z**2 / 2)


def smallest_effect(sd: float, count: int, alpha: float = 0.05) -> float:
    """The smallest effect that `count` units find, nats; infinite with too few."""
    z = beyond(alpha)
    left = count - z**2 / 2
    return (z + NormalDist().inv_cdf(POWER)) * sd / math.sqrt(left) if left > 0 else math.inf


def questions_needed(difference: float, flips: float, alpha: float = 0.05) -> int | None:
    """The fewest questions that find an accuracy difference; None where it exceeds the flips."""
    if not 0 < difference <= flips:
        return None
    reach, more = beyond(alpha), NormalDist().inv_cdf(POWER)
    root = reach * math.sqrt(flips) + more * math.sqrt(flips - difference**2)
    return math.ceil((root / difference) ** 2)


def smallest_difference(count: int, flips: float, alpha: float = 0.05) -> float | None:
    """The smallest accuracy difference that `count` questions find; None: not even all flips."""
    if (questions_needed(flips, flips, alpha) or MOST) > count:
        return None
    low, high = 0.0, flips
    for _ in range(50):
        middle = (low + high) / 2
        enough = (questions_needed(middle, flips, alpha) or MOST) <= count
        low, high = (low, middle) if enough else (middle, high)
    return high


def contrast_se(squares: float, units: int, paired_sd: float, seeds: int, seed_sd: float) -> float:
    """Standard error of a contrast of orders, nats; one seed adds nothing.

    Args:
        squares: sum of its squared coefficients; 2 for a pair.
        units: documents.
        paired_sd: of two orders over documents.
        seeds: replicates.
        seed_sd: of one order over seeds, beside the others.
    """
    of_seeds = seed_sd**2 * squares / seeds if seeds > 1 else 0.0
    return math.sqrt(of_seeds + paired_sd**2 * squares / 2 / units)


def power_of(effect: float, se: float, alpha: float) -> float:
    """Chance to find an effect, nats, in its direction."""
    return NormalDist().cdf(effect / se - beyond(alpha))


def equivalence_power(bound: float, se: float, alpha: float) -> float:
    """Chance that the interval lies within a bound, nats, where there is no difference."""
    return max(0.0, 2 * NormalDist().cdf(bound / se - beyond(alpha)) - 1)
