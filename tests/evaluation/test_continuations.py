"""Answers scored on a context that is read once, against lm-eval's own scoring."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lab import ROOT, Lab, sentence, write_lines
from lm_eval.models.huggingface import HFLM
from transformers import AutoConfig, AutoTokenizer, GPT2Config, PreTrainedModel, Qwen2Config

from compression_order.checkpoint import models
from compression_order.checkpoint.stored import Checkpoint
from compression_order.evaluation import continuations, questions

# nats of a whole answer: additions in another order
EQUAL = {torch.float32: 1e-4, torch.bfloat16: 0.15}
LONGEST = 64


def model(lab: Lab, dtype: torch.dtype) -> PreTrainedModel:
    return Checkpoint(lab.base).model(dtype)


def requests(vocabulary: int) -> list[continuations.Request]:
    """Contexts of 1 to 60 tokens with one to four answers of 1 to 9; some are too long."""
    rng = random.Random(1)

    def draw(count: int) -> list[int]:
        return [rng.randrange(vocabulary) for _ in range(count)]

    found: list[continuations.Request] = []
    for length in (1, 3, 17, 18, 40, 57, 60):
        context = draw(length)
        found += [(context, draw(rng.randint(1, 9))) for _ in range(rng.randint(1, 4))]
        found.append((context, found[-1][1]))  # an answer may come twice
    rng.shuffle(found)
    return found


def by_lm_eval(its: PreTrainedModel, lab: Lab, asked: list[continuations.Request]) -> Any:
    lm = HFLM(
        pretrained=its,
        tokenizer=AutoTokenizer.from_pretrained(lab.base),
        batch_size=3,
        max_length=LONGEST,
        softmax_dtype="float32",
    )
    told = [(("", ""), list(context), list(answer)) for context, answer in asked]
    return lm._loglikelihood_tokens(told, disable_tqdm=True)


@pytest.mark.parametrize("dtype", list(EQUAL))
@pytest.mark.parametrize("most", [1, 128, 4096])
def test_scores_are_lm_evals(lab: Lab, dtype: torch.dtype, most: int) -> None:
    its = model(lab, dtype)
    asked = requests(its.config.vocab_size)
    assert max(len(c) + len(a) for c, a in asked) > LONGEST + 1  # some lose their beginning
    ours = continuations.score(its, asked, LONGEST, most=most)
    theirs = by_lm_eval(its, lab, asked)
    assert [s for s, _ in ours] == pytest.approx([s for s, _ in theirs], abs=EQUAL[dtype])
    if dtype == torch.float32:
        assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def test_the_likeliest_answer_is_told(lab: Lab) -> None:
    its = model(lab, torch.float32)
    context = [5, 9, 12, 40]
    with torch.no_grad():
        made = its.generate(torch.tensor([context]), max_new_tokens=4, do_sample=False)
    best = made[0, len(context) :].tolist()
    other = [*best[:-1], (best[-1] + 1) % its.config.vocab_size]
    found = continuations.score(its, [(context, best), (context, other)], LONGEST)
    assert [greedy for _, greedy in found] == [True, False]


def test_each_context_is_read_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    its, read = model(lab, torch.float32), []
    forward = type(its.base_model).forward

    def counted(self: Any, *args: Any, **named: Any) -> Any:
        read.append(named["input_ids"].numel())
        return forward(self, *args, **named)

    monkeypatch.setattr(type(its.base_model), "forward", counted)
    asked = [([7] * 30, [i, i, i]) for i in range(1, 5)]
    continuations.score(its, asked, LONGEST)
    assert read == [30 + 4 * 2]


def test_progress_counts_every_request(lab: Lab) -> None:
    its, told = model(lab, torch.float32), list[int]()
    asked = requests(its.config.vocab_size)
    continuations.score(its, asked, LONGEST, told.append, most=64)
    assert told == sorted(told)
    assert told[-1] == len(asked)


def test_a_set_has_the_record_that_lm_eval_gives(lab: Lab, tmp_path: Path) -> None:
    its, tokenizer = model(lab, torch.float32), AutoTokenizer.from_pretrained(lab.base)
    rng = random.Random(2)
    records = [
        {"question": f"{sentence(rng)} Which?", "choices": [sentence(rng) for _ in range(4)],
         "answer": rng.randrange(4)}
        for _ in range(9)
    ]  # fmt: skip
    write_lines(tmp_path / "made.jsonl", records)
    described = yaml.safe_load((ROOT / "tasks/openbookqa.yaml").read_text())
    described["task"] = "made"
    described["dataset_kwargs"]["data_files"]["test"] = str(tmp_path / "made.jsonl")
    (tmp_path / "made.yaml").write_text(yaml.safe_dump(described))
    asked = questions.prepare([questions.Asked(tmp_path / "made.yaml", 0)])
    ours = questions.ToldHFLM(its, tokenizer, 8, "test")
    theirs = HFLM(pretrained=its, tokenizer=tokenizer, batch_size=8, softmax_dtype="float32")
    one, other = (questions.answer(lm, asked) for lm in (ours, theirs))
    assert one == other
    assert len(set(one["made"]["choice"])) > 1


def test_only_models_that_attend_to_everything_are_scored_here(lab: Lab) -> None:
    config = AutoConfig.from_pretrained(lab.base)
    assert models.attends_to_all(config)
    sliding = Qwen2Config(use_sliding_window=True, max_window_layers=1, num_hidden_layers=2)
    assert sliding.layer_types == ["full_attention", "sliding_attention"]
    assert not models.attends_to_all(sliding)
    assert models.attends_to_all(Qwen2Config(num_hidden_layers=2))
    assert not models.attends_to_all(GPT2Config())  # its logits may be more than its head gives


def test_other_models_go_to_lm_eval(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    its = model(lab, torch.float32)
    lm = questions.ToldHFLM(its, AutoTokenizer.from_pretrained(lab.base), 8, "test")
    asked = [(("", ""), [5, 6], [7]), (("", ""), [5, 6], [8, 9])]
    ours = lm._loglikelihood_tokens(asked)
    monkeypatch.setattr(models, "attends_to_all", lambda config: False)
    monkeypatch.setattr(continuations, "score", None)
    theirs = lm._loglikelihood_tokens(asked)
    assert [s for s, _ in ours] == pytest.approx([s for s, _ in theirs], abs=1e-4)
