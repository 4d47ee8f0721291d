"""LawBench's questions with several right labels: F1 between sets."""

import re
import warnings
from collections.abc import Collection

import cn2an

from compression_order.evaluation.lawbench.score import Score, f1


def labelled(prediction: str, answers: Collection[str], options: Collection[str]) -> Score:
    """Compute F1 between the options that the text names and the right ones.

    LawBench (arXiv 2309.16289, table of tasks): tasks 2-3 marital disputes identification,
    2-9 event detection and 3-3 charge prediction. As published, an option counts as named wherever
    its characters occur, so that a long charge also names the shorter charges inside it.

    Args:
        prediction: the generated text.
        answers: the right labels.
        options: all labels; a text that names none of them abstains.
    """
    named, right = {option for option in options if option in prediction}, set(answers)
    return Score(f1(len(named & right), len(named), len(right)), abstained=not named)


def articles(prediction: str, answers: Collection[int]) -> Score:
    """F1 between the numbers of the articles of law that the text cites and the right ones.

    LawBench (arXiv 2309.16289, table of tasks): task 3-1, fact-based article prediction. As
    published: the text is cut at each enumeration comma. In each piece the part that names a
    paragraph is removed, Chinese numerals become digits, and the first number is the article's.
    A text without a number abstains. The removed part begins at the first ordinal of the piece,
    so that an article cited with its paragraph is lost. The first number counts even if it
    belongs to another law.

    Args:
        prediction: the generated text.
        answers: numbers of the right articles.
    """
    cited, right = set(map(_first_number, prediction.split("、"))) - {None}, set(answers)
    return Score(f1(len(cited & right), len(cited), len(right)), abstained=not cited)


def _first_number(piece: str) -> int | None:
    piece = piece.replace("万元", "元")
    piece = re.sub("第.*?款", "", piece)
    # a numeral between these two characters would be read together with the last one
    piece = re.sub("第(.*?)条", r"\1", piece)
    found = re.search(r"\d+", in_digits(piece))
    return int(found[0]) if found else None


def in_digits(text: str) -> str:
    """Convert Chinese numerals to digits as cn2an does; leave numerals that it cannot read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a numeral that cn2an leaves unchanged
        return str(cn2an.transform(text, "cn2an"))
