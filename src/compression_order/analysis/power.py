"""How much text, how many questions and how many seeds a difference of a given size needs.

Sizes are for a two-sided test with 80% power. Units: a paired t-test of n units whose paired
differences have the standard deviation `sd` (nats per token), by the noncentral t distribution
(Cohen, Statistical Power Analysis, 1988, chapter 2). Questions: McNemar's test by Connor's
formula (Biometrics 43, 1987), (z_a sqrt(f) + z_b sqrt(f - e^2))^2 / e^2 for an accuracy
difference e where a share f of the questions is answered right by one of the two alone.
"""

import math

from scipy.stats import ncf, norm, t

POWER = 0.8
MOST = 10**7  # more than anybody will score
# paired standard deviation, nats per token, between two orders at full compression: the second
# best over the best of the run in README.md has a ratio of 1.070 +- 0.019 over 48 conversations
# of 193 tokens, and 0.019 / 1.070 * sqrt(48) is 0.12
PAIRED_SD = 0.12
FLIPS = 0.1  # share of questions that one of two orders alone answers right, assumed


def power_of(effect: float, sd: float, count: int, alpha: float = 0.05) -> float:
    """Chance that a paired t-test of `count` units finds an effect."""
    if count < 2 or effect == 0:
        return 0.0
    if sd == 0:
        return 1.0
    beyond, shift = t.ppf(1 - alpha / 2, count - 1), effect / sd * math.sqrt(count)
    # both tails of the noncentral t as its square, whose distribution scipy computes everywhere
    return float(ncf.sf(beyond**2, 1, count - 1, shift**2))


def units_needed(effect: float, sd: float, alpha: float = 0.05) -> int | None:
    """The fewest units, or seeds, that find an effect; None beyond ten million."""
    if sd == 0:
        return 2
    low, high = 1, 2
    while power_of(effect, sd, high, alpha) < POWER:
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = power_of(effect, sd, middle, alpha) >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return high


def smallest_effect(sd: float, count: int, alpha: float = 0.05) -> float:
    """The smallest effect that `count` units find, nats; infinite with one unit."""
    if count < 2:
        return math.inf
    if sd == 0:
        return 0.0
    low, high = 0.0, sd
    while power_of(high, sd, count, alpha) < POWER:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        enough = power_of(middle, sd, count, alpha) >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return high


def questions_needed(difference: float, flips: float, alpha: float = 0.05) -> int | None:
    """The fewest questions that find an accuracy difference; None where it exceeds the flips."""
    if not 0 < difference <= flips:
        return None
    beyond, more = norm.ppf(1 - alpha / 2), norm.ppf(POWER)
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
