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
# over all 15 pairs of the six orders of the default study, seed 0, 48 conversations of 193 tokens
# (0.173; docs/findings.md). In the studies of docs/results.md it is 0.12 to 0.15.
PAIRED_SD = 0.17
FLIPS = 0.1  # share of questions that one of two orders alone answers right, assumed


def _beyond(alpha: float) -> float:
    return NormalDist().inv_cdf(1 - alpha / 2)


def units_needed(effect: float, sd: float, alpha: float = 0.05) -> int:
    """The fewest units that find an effect, nats."""
    z = _beyond(alpha)
    return math.ceil(((z + NormalDist().inv_cdf(POWER)) * sd / effect) ** 2 + z**2 / 2)


def smallest_effect(sd: float, count: int, alpha: float = 0.05) -> float:
    """The smallest effect that `count` units find, nats; infinite with too few."""
    z = _beyond(alpha)
    left = count - z**2 / 2
    return (z + NormalDist().inv_cdf(POWER)) * sd / math.sqrt(left) if left > 0 else math.inf


def questions_needed(difference: float, flips: float, alpha: float = 0.05) -> int | None:
    """The fewest questions that find an accuracy difference; None where it exceeds the flips."""
    if not 0 < difference <= flips:
        return None
    beyond, more = _beyond(alpha), NormalDist().inv_cdf(POWER)
    root = beyond * math.sqrt(flips) + more * math.sqrt(flips - difference**2)
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
