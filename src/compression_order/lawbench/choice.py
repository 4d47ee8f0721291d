"""LawBench's questions with one right answer: the accuracy of a choice that is named in a text."""

from collections.abc import Collection

from compression_order.lawbench.score import Score


def chosen(prediction: str, answer: str, options: Collection[str]) -> Score:
    """Whether the text names the right option and no other.

    LawBench (arXiv 2309.16289, table of tasks): tasks 1-2 knowledge question answering,
    2-2 dispute focus identification, 2-4 issue topic identification, 2-8 argument mining and 3-6
    case analysis. As published, an option is named wherever its characters stand: a Latin letter
    inside a word is one, and so is an option inside a longer option. The paper calls the score of
    2-2 an F1; its code computes this accuracy.

    Args:
        prediction: the generated text.
        answer: the right option.
        options: all options; a text that names none of them abstains.
    """
    named = {option for option in options if option in prediction}
    return Score(float(named == {answer}), abstained=not named)
