"""The score that a rule of LawBench gives one answer, and the accuracy of a named choice."""

from collections.abc import Collection
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


def chosen(prediction: str, answer: str, options: Collection[str]) -> Score:
    """Whether the text names the right option and no other.

    LawBench (arXiv 2309.16289, table of tasks): tasks 1-2 knowledge question answering,
    2-2 dispute focus identification, 2-4 issue topic identification, 2-8 argument mining and 3-6
    case analysis. As published, an option counts as named wherever its characters occur, also for
    a Latin letter inside a word or an option inside a longer option. The paper calls the score of
    2-2 an F1; its code computes this accuracy.

    Args:
        prediction: the generated text.
        answer: the right option.
        options: all options; a text that names none of them abstains.
    """
    named = {option for option in options if option in prediction}
    return Score(float(named == {answer}), abstained=not named)
