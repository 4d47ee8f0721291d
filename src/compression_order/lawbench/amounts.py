"""LawBench's questions whose answer is a number: prison terms and sums of money."""

import math
import re

from compression_order.lawbench.label_sets import in_digits
from compression_order.lawbench.score import Score

LONGEST = math.log(216)  # the distance of an abstention: 18 years in months


def prison_term(prediction: str, months: int) -> Score:
    """Log distance of a prison term, as a share of the largest: (log 216 - distance) / log 216.

    LawBench (arXiv 2309.16289, table of tasks): tasks 3-4 and 3-5, prison term prediction
    without and with the articles. The distance is |log(term + 1) - log(prediction + 1)|. As
    published: the first number before the two characters for months is the prediction, else the
    first before the one for month, else twelve times the first before that for year. A text with
    years and months is therefore taken for its months alone. A text with none abstains, at 0; a
    distance beyond log 216 gives a score below 0.

    The published sum is normalized after the mean over questions, which is the same.

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
    published: digits with at most one decimal point are a number, so that 12,000 is two and a
    sum in units of ten thousand is not multiplied out. A text without digits abstains.

    Args:
        prediction: the generated text.
        amount: the right sum, yuan.
    """
    numbers = [float(number) for number in re.findall(r"\d+\.?\d*", prediction)]
    return Score(float(amount in numbers), abstained=not numbers)
