"""Estimate the sample size of a later study from a finished one's paired variances (`power.py`)."""

import math
from typing import Any

import numpy as np

from compression_order.results.records import Task
from compression_order.statistics import multiplicity, normal_power, power
from compression_order.statistics.estimates import Effects, Sample
from compression_order.statistics.paired import Array

RATIOS = (1.01, 1.02, 1.05, 1.1)  # perplexity ratios that may matter to a reader
DIFFERENCES = (0.01, 0.02, 0.05, 0.1)  # of accuracy


def of_text(sample: Sample, pairs: Effects) -> dict[str, Any] | None:
    """Units, tokens and seeds needed for ratios between orders; None with fewer than two units.

    Standard deviations are medians over the pairs, of which there is one at least. The number of
    units assumes the present seeds; the number of seeds assumes unlimited text.
    """
    if len(sample.weights) < 2:
        return None
    sd = float(np.median(pairs.unit_sd))
    seeds = None if pairs.seed_sd is None else float(np.median(pairs.seed_sd))
    corrected = multiplicity.ALPHA / len(pairs.value)
    return {
        "sd_units": sd,
        "sd_seeds": seeds,
        "smallest_ratio": math.exp(power.smallest_effect(sd, len(sample.weights))),
        "smallest_ratio_corrected": math.exp(
            power.smallest_effect(sd, len(sample.weights), corrected)
        ),
        "needed": [_needed(ratio, sd, seeds, sample.tokens, corrected) for ratio in RATIOS],
    }


def _needed(
    ratio: float, sd: float, seeds: float | None, tokens: float, corrected: float
) -> dict[str, Any]:
    effect = math.log(ratio)
    alone = power.units_needed(effect, sd)
    among = power.units_needed(effect, sd, corrected)
    return {
        "ratio": ratio,
        "units": alone,
        "tokens": None if alone is None else math.ceil(alone * tokens),
        "units_corrected": among,
        "tokens_corrected": None if among is None else math.ceil(among * tokens),
        "seeds": _seeds(effect, seeds, multiplicity.ALPHA),
        "seeds_corrected": _seeds(effect, seeds, corrected),
    }


def _seeds(effect: float, sd: float | None, alpha: float) -> int | None:
    """Seeds needed: one if seeds do not differ, None if their spread was not measured."""
    if sd is None:
        return None
    return power.units_needed(effect, sd, alpha) if sd else 1


def of_task(base: Task, either: Array) -> dict[str, Any] | None:
    """Questions needed for accuracy differences between orders.

    None without two orders, and if answers have scores: a flip has no size.

    Args:
        base: the question set, as base answered it.
        either: of every two orders, how many questions one alone answers right, the mean over
            seeds, [pairs].
    """
    if not len(either) or base.graded:
        return None
    questions = len(base.correct)
    flips, corrected = float(np.median(either)) / questions, multiplicity.ALPHA / len(either)
    return {
        "flips": flips,
        "smallest_difference": normal_power.smallest_difference(questions, flips),
        "smallest_difference_corrected": normal_power.smallest_difference(
            questions, flips, corrected
        ),
        "needed": [
            {
                "difference": difference,
                "questions": normal_power.questions_needed(difference, flips),
                "questions_corrected": normal_power.questions_needed(difference, flips, corrected),
            }
            for difference in DIFFERENCES
        ],
    }
