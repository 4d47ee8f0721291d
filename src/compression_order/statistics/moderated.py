"""Variances of few degrees of freedom, drawn towards their common size.

Smyth, "Linear Models and Empirical Bayes Methods", Statistical Applications in Genetics and
Molecular Biology 3, 2004, sections 3 and 6.2: the variances of many contrasts are taken to be
drawn from a scaled inverse chi-square distribution, whose two numbers are fitted to the moments of
their logarithms. Each variance then becomes the mean of its own and the common one, weighted by
their degrees of freedom.
"""

import math

import numpy as np
import scipy  # its parts are imported at first use

from compression_order.statistics.estimates import Spread
from compression_order.statistics.paired import Array

MOST = 1e6  # degrees of freedom: as good as a variance that is known


def moderated(variances: Array, df: float) -> Spread:
    """The variances drawn together, and their degrees of freedom.

    Args:
        variances: estimates of `df` degrees of freedom each, [contrasts]; those of zero stay out
            of the fit.
        df: of every one.
    """
    some = variances[variances > 0]
    if len(some) < 2:
        return Spread(variances, df)
    logs = np.log(some) - scipy.special.psi(df / 2) + math.log(df / 2)
    beyond = float(np.var(logs, ddof=1)) - float(scipy.special.polygamma(1, df / 2))
    prior_df = MOST if beyond <= 0 else min(MOST, 2 * _inverse_trigamma(beyond))
    prior = math.exp(logs.mean() + scipy.special.psi(prior_df / 2) - math.log(prior_df / 2))
    drawn = (prior_df * prior + df * variances) / (prior_df + df)
    return Spread(drawn, prior_df + df)


def _inverse_trigamma(value: float) -> float:
    """The x > 0 at which the trigamma function, which falls, has a value."""

    def over(x: float) -> float:
        return float(scipy.special.polygamma(1, x)) - value

    low, high = 1e-8, 1.0
    while over(high) > 0:
        high *= 2
    return float(scipy.optimize.brentq(over, low, high))
