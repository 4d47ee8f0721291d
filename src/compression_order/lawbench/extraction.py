"""LawBench's answers taken from a text: F1 over characters, and over parts that may be near."""

import re
from collections import Counter
from collections.abc import Collection, Mapping

from compression_order.lawbench.score import Score, f1

UNKNOWN = ("无", "未提及")  # a model's words for: there is none
SMALL = 1e-10  # added to the denominator by the published code


def reading(prediction: str, answer: str) -> Score:
    """rc-F1 of an answer to a question about a passage.

    LawBench (arXiv 2309.16289, table of tasks): task 2-5, reading comprehension. No answer
    abstains.

    Args:
        prediction: the generated text.
        answer: the right one.
    """
    return Score(characters_f1(prediction, answer))


def characters_f1(prediction: str, answer: str) -> float:
    """F1 over letters and digits, whatever their order; two texts without any agree.

    That of the evaluation script of CAIL 2019 and 2021, which LawBench uses.
    """
    predicted, right = (
        Counter(ch for ch in text.lower() if ch.isdigit() or ch.isalpha())
        for text in (prediction, answer)
    )
    if not predicted or not right:
        return float(predicted == right)
    return f1((predicted & right).total(), predicted.total(), right.total())


def entities(prediction: str, answer: Mapping[str, str], kinds: Collection[str]) -> Score:
    """Soft F1 of named entities: one kind of entity counts as far as its characters agree.

    LawBench (arXiv 2309.16289, table of tasks): task 2-6, named entity recognition. As
    published: an entity is what follows its kind and a colon, up to a space or the end of the
    line, the last where a kind comes twice, and none where fewer than two characters follow the
    colon or they say that there is none. Entities on one line are not parted, so that an answer
    in the form of the references has one long entity a kind. Without right entities the score is
    1 where none is predicted, and else 0. A text without entities abstains where there are some;
    the published code misspells that count, so that its tables show none.

    Args:
        prediction: the generated text.
        answer: the right entities by kind.
        kinds: all kinds.
    """
    predicted = dict[str, str]()
    for kind in kinds:
        for found in re.finditer(f"{re.escape(kind)}[:：]", prediction):
            # fewer than two characters after the colon are none
            if found.end() >= len(prediction) - 1:
                continue
            value = re.split("[\n ]", prediction[found.end() :].strip())[0].strip()
            if value not in UNKNOWN:
                predicted[kind] = value
    if not answer:
        return Score(float(not predicted))
    shared = sum(characters_f1(predicted[k], answer[k]) for k in predicted.keys() & answer.keys())
    return Score(_soft(shared, len(predicted), len(answer)), abstained=not predicted)


def triggers(prediction: str, answer: str) -> Score:
    """Soft F1 of the words that trigger events, in the order of the question.

    LawBench (arXiv 2309.16289, table of tasks): task 2-10, trigger word extraction. As
    published: texts are cut at semicolons of ASCII, and the nth part is held against the nth
    right one, so that one part too many at the head costs the rest. No answer abstains.

    Args:
        prediction: the generated text.
        answer: the right words, with semicolons between.
    """
    predicted, right = prediction.split(";"), answer.split(";")
    shared = sum(map(characters_f1, predicted, right))
    return Score(_soft(shared, len(predicted), len(right)))


def _soft(shared: float, predicted: int, right: int) -> float:
    precision, recall = shared / predicted if predicted else 0.0, shared / right
    return 2 * precision * recall / (precision + recall + SMALL)
