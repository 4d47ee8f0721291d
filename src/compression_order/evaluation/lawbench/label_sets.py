"""LawBench's questions with several right labels: F1 between sets."""

import re
import warnings
from collections.abc import Collection

import cn2an

from compression_order.evaluation.lawbench.score import Score, f1


def labelled(prediction: str, answers: Collection[str], options: Collection[str]) -> Score:
    """F1 between the options that the text names and the right ones.

    LawBench (arXiv 2309.16289, table of tasks): tasks 2-3 marital disputes identification,
    2-9 event detection and 3-3 charge prediction. As published, an option is named wherever its
    characters stand, so that a long charge names the shorter charges inside it as well.

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
    published: the text is cut at each enumeration comma; in each piece what names a paragraph is
    left out, Chinese numerals become digits, and the first number is the article's. A text without
    a number abstains. What is left out begins at the first ordinal of the piece, so that an
    article that is cited with its paragraph is lost. Whatever number comes first counts, one of
    another law as well.

    Args:
        prediction: the generated text.
        answers: numbers of the right articles.
    """
    cited, right = set(map(_first_number, prediction.split("、"))) - {None}, set(answers)
    return Score(f1(len(cited & right), len(cited), len(right)), abstained=not cited)


def _first_number(piece: str) -> int | None:
    piece = piece.replace("万元", "元")
    piece = re.sub("第.*?款", "", piece)
    # between these two characters a numeral may stand that would be read together with the last
    piece = re.sub("第(.*?)条", r"\1", piece)
    found = re.search(r"\d+", in_digits(piece))
    return int(found[0]) if found else None


def in_digits(text: str) -> str:
    """The text with its Chinese numerals as digits, as cn2an reads them; others are left alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a numeral that cn2an leaves as it is
        return str(cn2an.transform(text, "cn2an"))
