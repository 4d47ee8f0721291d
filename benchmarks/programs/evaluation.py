"""Perplexity and questions by lm-eval, as its own command runs them."""

import math
from typing import Any

import torch

from benchmarks.gauge import Gauge
from benchmarks.given import LENGTH, Given

BATCH = 8  # sequences, as ours asks lm-eval for


def _model_of(given: Given, dtype: str) -> Any:
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(given.base, dtype=getattr(torch, dtype))
    tokenizer = AutoTokenizer.from_pretrained(given.base)
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=BATCH, max_length=LENGTH)


def lm_eval_perplexity(given: Given, gauge: Gauge, dtype: str) -> dict[str, Any]:
    """Rolling log-likelihood of the same text in windows as long; the value is its perplexity.

    lm-eval predicts the first token of a window too, from the last one of the window before.
    """
    from lm_eval.api.instance import Instance

    lm = _model_of(given, dtype)

    def score(windows: list[list[int]]) -> tuple[float, int]:
        text = lm.tokenizer.decode([i for ids in windows for i in ids])
        asked = Instance("loglikelihood_rolling", {}, (text,), 0)
        (total,) = lm.loglikelihood_rolling([asked], disable_tqdm=True)
        return total, len(lm.tok_encode(text))

    windows: list[list[int]] = given.facts["windows"]
    score(windows[:1])  # warms up
    gauge.watch(lm.model)
    gauge.mark()
    total, tokens = score(windows)
    gauge.mark()
    return {"units": tokens, "value": math.exp(-total / tokens)}


def lm_eval_questions(given: Given, gauge: Gauge, dtype: str) -> dict[str, Any]:
    """The same questions of the same task files; the value is the share of right answers."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    lm = _model_of(given, dtype)
    wanted = given.sizes.questions
    manager = TaskManager(include_path="tasks", include_defaults=False)
    gauge.watch(lm.model)
    gauge.mark()
    found = simple_evaluate(
        model=lm,
        tasks=list(wanted),
        task_manager=manager,
        samples=given.facts["questions"],
        bootstrap_iters=0,
    )
    gauge.mark()
    # ours scores by this metric where a task has it
    right = sum(found["results"][name]["acc_norm,none"] * count for name, count in wanted.items())
    return {"units": sum(wanted.values()), "value": right / sum(wanted.values())}
