"""Whether two lists rank the same things alike: Kendall's tau-b.

tau-b = (concordant - discordant pairs) / sqrt(pairs not tied here * pairs not tied there); 1 is
the same order, -1 the reverse (Kendall, "The Treatment of Ties in Ranking Problems", Biometrika
33, 1945). Computed by scipy.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau

from compression_order.paired import Array, expanded_interval

FEWEST = 5  # items: with fewer no order, however equal, has a p-value below 0.05


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
    whole = kendalltau(ours, theirs)
    again = np.array([draws[name] for name in reference]).T
    drawn = kendalltau(again, np.broadcast_to(theirs, again.shape), axis=1).statistic
    low, high = (math.nan, math.nan)
    if math.isfinite(whole.statistic):
        # a draw in which all tie ranks nothing: no agreement
        low, high = expanded_interval(np.nan_to_num(drawn), units)
    return Tau(float(whole.statistic), low, high, float(whole.pvalue))
