"""Turn lm-eval's samples of a task into its entry of `lm_eval.json`: one number per question.

A sample is lm-eval's record of one question: prompts, answers and every metric's value. The
number is 1 (right), 0 (wrong) or a score; the entry also has their mean.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.evaluation.lawbench.counts import Counts, contributions

Sample = dict[str, Any]


def record(
    where: str,
    parts: Sequence[Sequence[Sample]],
    chance: float | None = None,
    alike: bool = False,
) -> dict[str, Any]:
    """The entry of a question set.

    Args:
        where: the task or its file, for messages.
        parts: the samples of each of its tasks, in the order in which the record keeps them.
        chance: accuracy of guessing; None: the mean over questions of one divided by the number
            of choices, and 0 where answers are generated.
        alike: whether every task has the same weight, whatever its number of questions. The
            numbers of a task with fewer are then larger, so that their mean is that of the tasks.

    Raises:
        HarnessError: there are no questions, or no metric is understood.
    """
    if not all(parts):
        raise HarnessError(f"{where}: the task has no questions; look at its data")
    samples = [sample for part in parts for sample in part]
    generated = isinstance(samples[0]["arguments"][0][1], dict)
    known = GENERATED if generated else tuple(CHOSEN)
    metric = next((m for m in known if m in samples[0]), None)
    if metric is None:
        raise HarnessError(f"{where}: metric_list has none of {', '.join(known)}; add one")
    weights = [len(samples) / len(parts) / len(part) if alike else 1 for part in parts]
    correct = [
        number if weight == 1 else weight * number
        for weight, part in zip(weights, parts, strict=True)
        for number in _numbers([sample[metric] for sample in part], metric)
    ]
    value = sum(correct) / len(correct)
    guessed = 0.0 if generated else sum(1 / len(s["arguments"]) for s in samples) / len(samples)
    return {
        "metric": metric,
        "value": value,
        "stderr": float(np.std(correct) / max(1, len(correct) - 1) ** 0.5),
        "chance": guessed if chance is None else chance,
        "samples": len(samples),
        "sample_sha256": files.digest([_asked(sample, generated) for sample in samples]),
        "correct": correct,
        **_abstention(samples),
        **(_texts(samples) if generated else {"choice": [CHOSEN[metric](s) for s in samples]}),
    }


def _numbers(values: Sequence[Any], metric: str) -> list[float]:
    """One number per question; a score of a whole task is divided among its questions."""
    if metric != SCORE:
        return [int(value) for value in values]
    if isinstance(values[0], Counts):
        return contributions(values)
    return [float(value) for value in values]


def _abstention(samples: Sequence[Sample]) -> dict[str, float]:
    """The share of answers that a task counts as abstentions, if it counts them."""
    if ABSTENTION not in samples[0]:
        return {}
    return {ABSTENTION: sum(sample[ABSTENTION] for sample in samples) / len(samples)}


def _texts(samples: Sequence[Sample]) -> dict[str, Any]:
    """The generated texts; the choice of each is its index among the distinct texts."""
    answers = [sample["resps"][0][0] for sample in samples]
    number = {text: i for i, text in enumerate(dict.fromkeys(answers))}
    return {
        "filter": samples[0]["filter"],
        "answers": answers,
        "choice": [number[text] for text in answers],
    }


def _asked(sample: Sample, generated: bool) -> list[Any]:
    # identifies what was scored: every prompt with every continuation, and the right answer; for
    # generated answers that may be a program which reads the whole document, as in IFEval
    prompts = [[str(a) for a in pair] for pair in sample["arguments"]]
    return [prompts, str(sample["target"]), *([sample["doc_hash"]] if generated else [])]


def _likeliest(sample: Sample) -> int:
    return int(np.argmax([float(score) for score, _ in sample["filtered_resps"]]))


def _likeliest_per_character(sample: Sample) -> int:
    # the continuation begins with the delimiter, which lm-eval does not count
    lengths = [float(len(continuation) - 1) for _, continuation in sample["arguments"]]
    scores = [float(score) for score, _ in sample["filtered_resps"]]
    with np.errstate(divide="ignore", invalid="ignore"):
        return int(np.argmax(np.divide(scores, lengths)))


# in order of preference: a task that lists acc_norm has choices of unequal length
CHOSEN = {"acc_norm": _likeliest_per_character, "acc": _likeliest}
SCORE, ABSTENTION = "score", "abstention"  # of LawBench's tasks
# whole answers only: a share of a prompt's instructions is not an answer
GENERATED = ("exact_match", "prompt_level_strict_acc", SCORE)
