"""From the verdicts on one checkpoint's answers to its `judge.json`."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev, variance
from typing import Any

SAME = 0.05  # half a point of ten: verdicts that are no farther apart count as the same


def entry(verdicts: Sequence[Sequence[float]]) -> dict[str, Any]:
    """The entry of a metric.

    Args:
        verdicts: scores 0..1, [answers][repeats].

    Returns:
        The mean with its standard error over answers, the score of each answer (the mean of its
        repeats) and, with several repeats, how far they agree.
    """
    scores = [fmean(repeats) for repeats in verdicts]
    found: dict[str, Any] = {
        "value": fmean(scores),
        "stderr": stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None,
        "scores": scores,
    }
    if len(verdicts[0]) > 1:
        found["repeats"] = agreement(verdicts)
    return found


def agreement(verdicts: Sequence[Sequence[float]]) -> dict[str, Any]:
    """How far repeated verdicts on the same answer agree.

    Args:
        verdicts: scores, [answers][repeats], two repeats or more.

    Returns:
        count: repeats an answer; same: share of the answers whose verdicts are at most 0.05 apart;
        sd: standard deviation of a verdict around the mean of its answer (pooled); icc: the
        intraclass correlation ICC(1,1) of Shrout and Fleiss 1979, the share of a verdict's variance
        that lies between answers, None where nothing varies or there is one answer.
    """
    k = len(verdicts[0])
    within = fmean(variance(repeats) for repeats in verdicts)
    icc = None
    if len(verdicts) > 1:
        between = k * variance([fmean(repeats) for repeats in verdicts])
        spread = between + (k - 1) * within
        icc = (between - within) / spread if spread else None
    same = fmean(max(repeats) - min(repeats) <= SAME for repeats in verdicts)
    return {"count": k, "same": same, "sd": math.sqrt(within), "icc": icc}
