"""LawBench's rules for generated texts: extracted parts, prison terms, sums of money, ROUGE-L."""

import logging
import math
import re
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cache

import jieba

from compression_order.evaluation.lawbench.label_sets import in_digits
from compression_order.evaluation.lawbench.score import Score, f1

UNKNOWN = ("无", "未提及")  # a model's words for "none"
LONGEST = math.log(216)  # the distance of an abstention: 18 years in months
EMPTY = "无内容"  # replaces an empty prediction
# added by the published code to the denominators of extracted parts and of ROUGE-L
SMALL_F1, SMALL_ROUGE = 1e-10, 1e-8


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

    This is the F1 of the evaluation script of CAIL 2019 and 2021, which LawBench uses.
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
    published: an entity is the text after its kind and a colon, up to a space or the end of the
    line. If a kind comes twice, the last counts. There is no entity if fewer than two characters
    follow the colon or they say "none". Entities on one line are not separated, so that an answer
    in the form of the references has one long entity per kind. Without right entities the score
    is 1 if none is predicted and 0 otherwise. A text without entities abstains if there are right
    ones; the published code misspells that count, so that its tables show no abstentions.

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
    published: texts are cut at ASCII semicolons, and the nth part is compared with the nth right
    one, so that an extra part at the beginning spoils the rest. No answer abstains.

    Args:
        prediction: the generated text.
        answer: the right words, with semicolons between.
    """
    predicted, right = prediction.split(";"), answer.split(";")
    shared = sum(map(characters_f1, predicted, right))
    return Score(_soft(shared, len(predicted), len(right)))


def _soft(shared: float, predicted: int, right: int) -> float:
    precision, recall = shared / predicted if predicted else 0.0, shared / right
    return 2 * precision * recall / (precision + recall + SMALL_F1)


def prison_term(prediction: str, months: int) -> Score:
    """Log distance of a prison term, as a share of the largest: (log 216 - distance) / log 216.

    LawBench (arXiv 2309.16289, table of tasks): tasks 3-4 and 3-5, prison term prediction
    without and with the articles. The distance is |log(term + 1) - log(prediction + 1)|. As
    published: the prediction is the first number before the two characters for months, else the
    first before the one for month, else twelve times the first before that for year. A text with
    years and months therefore counts by its months alone. A text with none abstains and scores 0;
    a distance beyond log 216 gives a score below 0.

    The published code normalizes after the mean over questions, with the same result.

    Args:
        prediction: the generated text.
        months: the right term.
    """
    text = in_digits(prediction)
    for unit, length in (("个月", 1), ("月", 1), ("年", 12)):
        found = re.search(rf"(\d+){unit}", text)
        if found:
            predicted = int(found[1]) * length
            distance = abs(math.log(months + 1) - math.log(predicted + 1))
            return Score((LONGEST - distance) / LONGEST)
    return Score(0.0, abstained=True)


def money(prediction: str, amount: float) -> Score:
    """Whether the right sum is among the numbers of the text.

    LawBench (arXiv 2309.16289, table of tasks): task 3-7, criminal damages calculation. As
    published: digits with at most one decimal point are a number, so that 12,000 is two numbers
    and a sum in units of ten thousand is not multiplied out. A text without digits abstains.

    Args:
        prediction: the generated text.
        amount: the right sum, yuan.
    """
    numbers = [float(number) for number in re.findall(r"\d+\.?\d*", prediction)]
    return Score(float(amount in numbers), abstained=not numbers)


def rouge_l(prediction: str, answer: str) -> Score:
    """ROUGE-L, the F1 of the longest common subsequence of words.

    LawBench (arXiv 2309.16289, table of tasks): tasks 1-1 article recitation, 2-7 opinion
    summarization, 3-2 scene-based article prediction and 3-8 consultation. As published: words
    are those of jieba, and punctuation marks are words. The published code uses the package
    rouge-chinese; in version 1.0.3 its summary-level ROUGE-L equals this one over the whole text
    (it cuts sentences and joins them again). No answer abstains.

    Args:
        prediction: the generated text.
        answer: the right one.
    """
    predicted, right = words(prediction) or [EMPTY], words(answer)
    if not right:
        return Score(0.0)
    shared = common_subsequence(predicted, right)
    precision, recall = shared / len(predicted), shared / len(right)
    return Score(2 * precision * recall / (precision + recall + SMALL_ROUGE))


def words(text: str) -> list[str]:
    """The words of a text by jieba, white space left out."""
    return " ".join(_segmenter().cut(text)).split()


@cache
def _segmenter() -> jieba.Tokenizer:
    """A segmenter that reads the package's dictionary, not a cache left by another program."""
    jieba.setLogLevel(logging.WARNING)
    made = jieba.Tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        made.tmp_dir = folder
        made.initialize()
    return made


def common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    Bit i of `row` is 0 where the length grows at the i-th word of `one` (Hyyro, Bit-parallel LCS
    length computation revisited, AWOCA 2004).
    """
    places: dict[str, int] = {}
    for i, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << i
    whole = (1 << len(one)) - 1
    row = whole
    for word in other:
        match = row & places.get(word, 0)
        row = (row + match | row - match) & whole
    return len(one) - row.bit_count()
