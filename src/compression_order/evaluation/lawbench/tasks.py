"""Functions that tasks/lawbench/*.yaml call: for each task a check of its records and its score.

A record of LawBench is an object of three texts: instruction, question, answer. The published
code leaves out records whose answer is no label or no term (tasks 2-2, 3-4 and 3-5). Here they are
left out before questions are counted; the published abstention rate keeps them in its denominator.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from compression_order.common.errors import HarnessError
from compression_order.evaluation.lawbench import labels
from compression_order.evaluation.lawbench.corrections import counts
from compression_order.evaluation.lawbench.label_sets import articles, labelled
from compression_order.evaluation.lawbench.rules import (
    entities,
    money,
    prison_term,
    reading,
    rouge_l,
    triggers,
)
from compression_order.evaluation.lawbench.score import Score, chosen

KEYS = ("instruction", "question", "answer")

Document = Mapping[str, str]
Rule = Callable[[str, str], Score]  # arguments: a text, and what the form extracts from the answer
Check = Callable[[Any], Any]  # of a split, as lm-eval's process_docs
Result = Callable[[Document, list[str]], dict[str, Any]]  # lm-eval's process_results


def _check(number: str, form: str, without: str) -> Check:
    """The records of a split without those that do not count.

    Raises:
        HarnessError: there are none, or one is not of the task's form.
    """

    def process_docs(split: Any) -> Any:
        kept = [i for i, record in enumerate(split) if _counts(number, form, without, i, record)]
        if not kept:
            raise HarnessError(f"lawbench {number}: its file has no question; fetch it again")
        return split.select(kept)

    return process_docs


def _counts(number: str, form: str, without: str, nth: int, record: Mapping[str, Any]) -> bool:
    where = f"lawbench {number}, record {nth}"
    for key in KEYS:
        if not isinstance(record.get(key), str):
            raise HarnessError(
                f"{where}: {key!r} is missing or no text; a record is an object of the texts "
                f"{', '.join(KEYS)}, so look at the dataset's revision and files"
            )
    if without and re.search(without, record["answer"]):
        return False
    if not re.fullmatch(form, record["answer"], re.DOTALL):
        raise HarnessError(
            f"{where}: the answer {record['answer'][:60]!r} is not of the form {form[:60]!r} that "
            "the scoring rule reads; look at the dataset's revision"
        )
    return True


def _task(number: str, form: str, rule: Rule, without: str = "") -> tuple[Check, Result]:
    """A task's check and score: `form` matches its answers, and its group is what counts."""

    def process_results(document: Document, results: list[str]) -> dict[str, Any]:
        right = re.fullmatch(form, document["answer"], re.DOTALL)
        assert right is not None  # process_docs refused it
        score = rule(results[0], right[1])
        return {"score": score.value, "abstention": float(score.abstained)}

    return _check(number, form, without), process_results


def _one_of(options: Collection[str]) -> str:
    return "|".join(map(re.escape, options))


def _choice(options: Collection[str]) -> Rule:
    return lambda text, right: chosen(text, right, options)


def _labels(options: Collection[str], comma: str) -> Rule:
    return lambda text, right: labelled(text, right.split(comma), options)


def _entities(text: str, right: str) -> Score:
    parts = [part.split(":") for part in right.split(";")] if right.strip() else []
    return entities(text, {part[0]: part[1] for part in parts}, labels.ENTITIES)


def _without(prefix: str, rule: Rule) -> Rule:
    return lambda text, right: rule(text, right.replace(prefix, ""))


TEXT, ANY = "(.+)", "(.*)"
MARITAL = _one_of(labels.MARITAL_DISPUTES)
TERM = r"刑期:(\d+)个月"
NO_TERM = "死刑|无期"

docs_1_1, score_1_1 = _task("1-1", TEXT, _without("答案:", rouge_l))
docs_1_2, score_1_2 = _task("1-2", "正确答案：([A-D]).*", _choice("ABCD"))
docs_2_1 = _check("2-1", TEXT, "")
docs_2_2, score_2_2 = _task(
    "2-2", f"争议焦点类别：({_one_of(labels.DISPUTE_FOCUSES)}).",
    _choice(labels.DISPUTE_FOCUSES), without="^.{7}赔偿.$",
)  # fmt: skip
docs_2_3, score_2_3 = _task(
    "2-3", f"类别:((?:{MARITAL})(?:、(?:{MARITAL}))*)。", _labels(labels.MARITAL_DISPUTES, "、")
)
docs_2_4, score_2_4 = _task(
    "2-4", f"({_one_of(labels.ISSUE_TOPICS)})", _choice(labels.ISSUE_TOPICS)
)
docs_2_5, score_2_5 = _task("2-5", ANY, _without("回答:", reading))
docs_2_6, score_2_6 = _task("2-6", r"(\s*|[^:;]+:[^;]*(?:;[^:;]+:[^;]*)*)", _entities)
docs_2_7, score_2_7 = _task("2-7", TEXT, rouge_l)
docs_2_8, score_2_8 = _task("2-8", r"\[正确答案\]([A-E]).*", _choice("ABCDE"))
docs_2_9, score_2_9 = _task("2-9", TEXT, _labels(labels.EVENTS, ";"))
docs_2_10, score_2_10 = _task("2-10", TEXT, triggers)
docs_3_1, score_3_1 = _task(
    "3-1", r"法条:刑法第(\d+(?:条?、(?:法条:刑法第)?\d+)*)条",
    lambda text, right: articles(text, [int(n) for n in re.findall(r"\d+", right)]),
)  # fmt: skip
docs_3_2, score_3_2 = _task("3-2", TEXT, rouge_l)
docs_3_3, score_3_3 = _task("3-3", "罪名:(.+)", _labels(labels.CHARGES, ";"))
docs_3_4, score_3_4 = _task("3-4", TERM, lambda text, n: prison_term(text, int(n)), NO_TERM)
docs_3_5, score_3_5 = _task("3-5", TERM, lambda text, n: prison_term(text, int(n)), NO_TERM)
docs_3_6, score_3_6 = _task("3-6", "正确答案:([A-D]).*", _choice("ABCD"))
docs_3_7, score_3_7 = _task(
    "3-7", r"上文涉及到的犯罪金额:(\d+(?:\.\d+)?)元。",
    lambda text, right: money(text, float(right)),
)  # fmt: skip
docs_3_8, score_3_8 = _task("3-8", TEXT, rouge_l)


def score_2_1(document: Document, results: list[str]) -> dict[str, Any]:
    """Counts of edits: F0.5 is that of all sentences together, by `counts.f05`."""
    return {
        "score": counts(results[0], document["answer"], document["question"]),
        "abstention": 0.0,
    }
