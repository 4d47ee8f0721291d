"""How much text and how many seeds a difference of a given size needs, exactly.

Sizes are for a two-sided paired t-test of n units whose paired differences have the standard
deviation `sd` (nats per token), by the noncentral t distribution (Cohen, Statistical Power
Analysis, 1988, chapter 2).
"""

import math

import scipy  # its parts are imported at first use

from compression_order.statistics.normal_power import MOST, POWER


def power_of(effect: float, sd: float, count: int, alpha: float = 0.05) -> float:
    """Chance that a paired t-test of `count` units finds an effect."""
    if count < 2 or effect == 0:
        return 0.0
    if sd == 0:
        return 1.0
    beyond, shift = scipy.stats.t.ppf(1 - alpha / 2, count - 1), effect / sd * math.sqrt(count)
    # both tails of the noncentral t as its square, whose distribution scipy computes everywhere
    return float(scipy.stats.ncf.sf(beyond**2, 1, count - 1, shift**2))


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
