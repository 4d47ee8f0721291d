"""The metrics that a judge decides, by deepeval's prompts and parsing; and what must be refused.

deepeval 4.3.1 is lenient where a table must not be: it takes a score outside its range, and the
example of its own prompt where a small judge repeats that; it gives full marks where the judge
returned no verdict at all, and leaves out a verdict that is neither yes nor no. Each of these is
`Nonsense` here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compression_order.judge.endpoint import Endpoint, Nonsense
from compression_order.judge.settings import PAPER

# isort: split
from deepeval.metrics import GEval, PromptAlignmentMetric
from deepeval.test_case import LLMTestCase, SingleTurnParams

COHERENCE = "coherence"
EXAMPLE = "your concise and informative reason here"  # in the prompt of deepeval's G-Eval
# what deepeval raises where the answer is not the JSON that it asked for
MALFORMED = (ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True)
class Rated:
    """A G-Eval metric: what it looks at, and its criterion, or its steps themselves."""

    name: str
    looks_at: tuple[str, ...]
    criteria: str = ""
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One answer before the judge."""

    input: str
    output: str
    expected: str


PUBLISHED = Rated(
    "g_eval",
    ("INPUT", "ACTUAL_OUTPUT"),
    steps=("Evaluate the correctness and relevance of the response.",),
)
CORRECTNESS = Rated(
    "g_eval",
    ("INPUT", "ACTUAL_OUTPUT", "EXPECTED_OUTPUT"),
    criteria=(
        "Correctness and relevance: whether the actual output is factually and logically correct "
        "and answers what the input asks. The expected output is one good answer; others may be as "
        "good. Wrong statements, text that does not belong to the question, and repetition lower "
        "the score; length alone does not change it."
    ),
)
COHERENT = Rated(
    COHERENCE,
    ("ACTUAL_OUTPUT",),
    criteria=(
        "Coherence: whether the sentences of the actual output follow from one another and build a "
        "well-organized whole. Whether they are true does not matter. Repetition, sentences that "
        "break off and sentences without connection lower the score."
    ),
)
INSTRUCTIONS = ("Output should be concise.", "Output should be relevant to the question asked.")
PUBLISHED_INSTRUCTIONS = ("Output should be concise and relevant to the question asked.",)


def rated(variant: str) -> list[Rated]:
    """The G-Eval metrics of a variant."""
    return [PUBLISHED] if variant == PAPER else [CORRECTNESS, COHERENT]


def instructions(variant: str) -> list[str]:
    """What prompt alignment checks one by one."""
    return list(PUBLISHED_INSTRUCTIONS if variant == PAPER else INSTRUCTIONS)


def _g_eval(its: Rated, endpoint: Endpoint, steps: Sequence[str]) -> Any:
    return GEval(
        name=its.name,
        evaluation_params=[SingleTurnParams[name] for name in its.looks_at],
        criteria=None if steps else its.criteria,
        evaluation_steps=list(steps) or None,
        model=endpoint,
        async_mode=False,
    )


def evaluation_steps(its: Rated, endpoint: Endpoint) -> list[str]:
    """The steps by which the judge means to go: the chain of thought of G-Eval.

    Source: Liu et al. 2023 (arXiv 2303.16634), section 2. They are asked for once a study, so that
    every answer of every row is judged by the same ones.

    Raises:
        Nonsense: no list of sentences.
    """
    if its.steps:
        return list(its.steps)
    try:
        steps = _g_eval(its, endpoint, ())._generate_evaluation_steps(multimodal=False)
    except MALFORMED as fault:
        raise Nonsense(f"no steps ({_told(endpoint, fault)})") from None
    if not isinstance(steps, list) or not steps or not all(_is_text(step) for step in steps):
        raise Nonsense(f"no list of sentences ({_told(endpoint)})")
    return steps


def rate(its: Rated, endpoint: Endpoint, steps: Sequence[str], case: Case) -> dict[str, Any]:
    """G-Eval: a score of 0 to 10, scaled to 0..1.

    Where the endpoint gives log-probabilities the score is the mean of the whole numbers that the
    judge could have said, weighted by their probabilities (section 2.2 there).

    Raises:
        Nonsense: no score, or one outside 0 to 10.
    """
    metric = _g_eval(its, endpoint, steps)
    try:
        score = float(metric.measure(_test_case(case), _show_indicator=False))
    except MALFORMED as fault:
        raise Nonsense(f"no score ({_told(endpoint, fault)})") from None
    said = _said(endpoint)
    if not math.isfinite(score) or not 0 <= score <= 1 or not 0 <= said <= 10:
        raise Nonsense(f"a score outside 0 to 10 ({_told(endpoint)})")
    if not _is_text(metric.reason) or metric.reason.strip() == EXAMPLE:
        raise Nonsense(f"the example of its instructions ({_told(endpoint)})")
    # deepeval weighs where the score is a token of its own: the same test as in its code
    weighted = f"{said:g}" in endpoint.exchanges[-1].tokens
    return {"score": score, "weighted": weighted, "reason": metric.reason}


def align(endpoint: Endpoint, asked: list[str], case: Case) -> dict[str, Any]:
    """Prompt alignment: the share of the instructions that the answer follows, 0..1.

    Raises:
        Nonsense: not one yes or no for each instruction.
    """
    metric = PromptAlignmentMetric(
        prompt_instructions=asked,  # a list: of a string every character would count
        model=endpoint,
        include_reason=False,
        async_mode=False,
    )
    try:
        score = float(metric.measure(_test_case(case), _show_indicator=False))
    except MALFORMED as fault:
        raise Nonsense(f"no verdicts ({_told(endpoint, fault)})") from None
    if len(metric.verdicts) != len(asked):
        raise Nonsense(
            f"{len(metric.verdicts)} verdicts of yes or no on {len(asked)} instructions "
            f"({_told(endpoint)})"
        )
    return {"score": score, "reason": [verdict.reason for verdict in metric.verdicts]}


def _test_case(case: Case) -> Any:
    return LLMTestCase(input=case.input, actual_output=case.output, expected_output=case.expected)


def _said(endpoint: Endpoint) -> float:
    """The score as the judge wrote it, before any weighting."""
    from deepeval.metrics.utils import trimAndLoadJson

    return float(trimAndLoadJson(endpoint.exchanges[-1].text)["score"])


def _is_text(step: Any) -> bool:
    return isinstance(step, str) and bool(step.strip())


def _told(endpoint: Endpoint, fault: Exception | None = None) -> str:
    """The beginning of what the judge said, for a message."""
    if not endpoint.exchanges:
        return " ".join(str(fault).split())[:80]
    words = " ".join(endpoint.exchanges[-1].text.split())
    return repr(words if len(words) <= 80 else f"{words[:77]}...")
