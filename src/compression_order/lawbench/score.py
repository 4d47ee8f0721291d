"""What a rule of LawBench says of one answer."""

from typing import NamedTuple


class Score(NamedTuple):
    """The score of one answer, and whether it is counted as an abstention.

    Scores lie between 0 and 1; a log distance can fall below 0.
    """

    value: float
    abstained: bool = False


def f1(shared: float, predicted: int, right: int) -> float:
    """Harmonic mean of shared / predicted and shared / right; 0 where nothing is shared.

    Args:
        shared: how much of the prediction is right: a number of labels, or a sum of shares.
        predicted: parts of the prediction.
        right: parts of the right answer.
    """
    return 2 * shared / (predicted + right) if shared else 0.0
