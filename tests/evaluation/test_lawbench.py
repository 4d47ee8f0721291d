"""LawBench: records without a score, all task files through lm-eval, what becomes of scores."""

import json
from pathlib import Path
from typing import Any

import lawbench_fixtures as made
import numpy as np
import pytest
from datasets import Dataset
from lab import ROOT, Lab, inside
from transformers import AutoModelForCausalLM, AutoTokenizer

from compression_order.common.errors import HarnessError
from compression_order.evaluation import hub_questions, questions
from compression_order.evaluation.hub_questions import HubAsked, Sources
from compression_order.evaluation.lawbench import tasks
from compression_order.findings import flips
from compression_order.results import checks, readings, records, scores
from compression_order.results.claims import llm_workout_plan
from compression_order.study import hub_tasks

REPOSITORY = "open-compass/LawBench"
# --- records that cannot be scored ------------------------------------------------------------


@pytest.mark.parametrize("number", made.RECORDS)
def test_the_records_of_the_fixtures_pass_but_for_those_that_do_not_count(number: str) -> None:
    check = getattr(tasks, f"docs_{number.replace('-', '_')}")
    kept = check(Dataset.from_list(made.records(number)))
    assert len(kept) == len(made.RECORDS[number]) - (number in ("2-2", "3-4", "3-5"))


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"answer": None}, "lawbench 1-2, record 1: 'answer' is missing or no text"),
        ({"question": 3}, "lawbench 1-2, record 1: 'question' is missing or no text"),
        ({"answer": "选B"}, "lawbench 1-2, record 1: the answer '选B' is not of the form"),
    ],
)
def test_a_record_that_cannot_be_scored_is_told(record: dict[str, Any], says: str) -> None:
    good = made.records("1-2")[0]

    class Split(list[Any]):
        pass

    with pytest.raises(HarnessError) as fault:
        tasks.docs_1_2(Split([good, good | record]))
    assert says in str(fault.value)
    assert "\n" not in str(fault.value)


# --- through lm-eval --------------------------------------------------------------------------


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    folder = tmp_path / "snapshot"
    made.lawbench(folder)
    return folder


def prepared(name: str, snapshot: Path, scratch: Path, count: int = 0) -> questions.Prepared:
    sources = Sources({REPOSITORY: snapshot}, ["tasks/lawbench"])
    [one] = hub_questions.prepare([HubAsked(name, count)], sources, scratch)
    return one


def test_all_twenty_tasks_run_and_their_mean_is_unweighted(
    lab: Lab, snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, Any] = {}
    real = questions.simple_evaluate

    def keeping(**settings: Any) -> Any:
        kept.update(real(**settings))
        return kept

    monkeypatch.setattr(questions, "simple_evaluate", keeping)
    one = prepared("lawbench", snapshot, tmp_path / "scratch")
    assert set(one.leaves) == {f"lawbench_{n.replace('-', '_')}" for n in made.RECORDS}
    for task in one.leaves.values():  # short: the model knows nothing
        monkeypatch.setitem(task.config.generation_kwargs, "max_gen_toks", 4)
    own = AutoModelForCausalLM.from_pretrained(lab.base)
    lm = questions.ToldHFLM(own, AutoTokenizer.from_pretrained(lab.base), 8, "test")
    entry = questions.answer(lm, [one])["lawbench"]

    # two records each, but one of 3-5; what lm-eval's own aggregation says of each task
    assert entry["samples"] == 2 * 20 - 1 == len(entry["correct"]) == len(entry["answers"])
    assert entry["groups"]["lawbench_3_5"]["samples"] == 1
    values = []
    for name, part in entry["groups"].items():
        theirs = kept["results"][name]
        assert part["value"] == pytest.approx(theirs["score,none"]), name
        assert part["abstention"] == pytest.approx(theirs["abstention,none"]), name
        values.append(part["value"])
    assert entry["value"] == pytest.approx(np.mean(values))
    assert (entry["metric"], entry["chance"], entry["shots"]) == ("score", 0, 0)
    prompt = kept["samples"]["lawbench_2_1"][0]["arguments"][0][0]
    assert prompt == f"请回答（2-1）：\n{made.RECORDS['2-1'][0][0]}"

    path = tmp_path / "lm_eval.json"
    path.write_text(json.dumps({"lawbench": entry}))
    read = readings.read_task(path, entry, "lawbench")
    assert read.value == pytest.approx(entry["value"])
    list(checks.answers("acc_lawbench", read))


def test_the_prompt_and_the_limits_are_those_of_the_index(snapshot: Path, tmp_path: Path) -> None:
    one = prepared("lawbench_2_10", snapshot, tmp_path / "scratch", 1)
    [task] = one.leaves.values()
    assert task.config.generation_kwargs == {
        "until": [], "do_sample": False, "max_gen_toks": 256,
    }  # fmt: skip
    assert one.facts == {"datasets": {REPOSITORY: "snapshot"}, "shots": 0, "chat_template": None}
    row = hub_tasks.index(ROOT)["lawbench_2_10"]
    assert (row.questions, row.generated) == (500, 256)
    singles = [r for n, r in hub_tasks.index(ROOT).items() if n.startswith("lawbench_")]
    group = hub_tasks.index(ROOT)["lawbench"]
    assert (len(singles), sum(r.questions for r in singles)) == (group.leaves, group.questions)
    assert abs(sum(r.tokens for r in singles) / 20 - group.tokens) < 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", ["lawbench_1_1", REPOSITORY]),
        ('[{"instruction": "x", "question"', ["lawbench_1_1", REPOSITORY, "`datasets`"]),
        ('[{"instruction": "x", "question": "y"}]', ["lawbench 1-1, record 0", "'answer'"]),
        (None, ["lawbench_1_1", "data/zero_shot/1-1.json", "`datasets`"]),
    ],
)
def test_files_that_cannot_be_read_are_told_in_one_sentence(
    content: str | None, says: list[str], snapshot: Path, tmp_path: Path
) -> None:
    path = snapshot / "data/zero_shot/1-1.json"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(HarnessError) as fault:
        prepared("lawbench_1_1", snapshot, tmp_path / "scratch")
    assert "\n" not in str(fault.value)
    for part in says:
        assert part in str(fault.value), str(fault.value)


# --- what becomes of scores -------------------------------------------------------------------


def task_of(values: list[float], texts: list[str]) -> readings.Task:
    choice = [float(texts.index(text)) for text in texts]
    return readings.Task("x", np.array(values), np.array(choice), 0.0, tuple(texts))


def test_scores_are_judged_by_their_mean_and_compared_by_who_is_ahead() -> None:
    texts = [f"text {i}" for i in range(40)]
    rng = np.random.default_rng(0)
    good = task_of(list(rng.uniform(0.2, 0.6, 40)), texts)
    assert good.graded
    record = records.Record("base", 0, {}, {readings.QUESTIONS: {"lawbench": good}})
    assert scores.useless("lawbench", {"base": [record]}) is None
    # below nothing: a log distance beyond log 216 is no accuracy below chance
    bad = task_of([-0.3, 0.1] * 20, texts)
    assert list(checks.answers("acc_lawbench", bad)) == []
    worse = records.Record("base", 0, {}, {readings.QUESTIONS: {"lawbench": bad}})
    assert "not above chance" in (scores.useless("lawbench", {"base": [worse]}) or "")

    right = np.array([[[0.9, 0.5, 0.4, 0.2]], [[0.1, 0.6, 0.3, 0.3]]])
    choice = np.array([[[0, 1, 2, 3]], [[6, 5, 4, 3]]])
    answers = flips.Answers(["A", "B"], right, choice)
    entry = flips.tested(answers, answers.every_two(["A", "B"])).entry(0)
    # the last answer is the same one
    assert (entry["only_first_right"], entry["only_second_right"]) == ([2], [1])
    assert entry["accuracy_difference"] == pytest.approx(0.175)
    assert entry["p"] == 1.0  # two of three


def test_the_command_scores_what_the_verdict_ranks(
    lab: Lab, snapshot: Path, tmp_path: Path
) -> None:
    out = tmp_path / "seed0" / "evaluations" / "base"
    inside(
        "measure", "--checkpoint", lab.base, "--documents", lab.chats, "--splits", lab.splits,
        "--reference", lab.reference, "--hub-tasks=lawbench:1", "--task-folder=tasks/lawbench",
        f"--dataset={REPOSITORY}={snapshot}", "--out", out, "--costs", tmp_path / "costs",
    )  # fmt: skip
    record = records.read(tmp_path / "seed0", "base", 0)
    assert len(record.tasks["lawbench"].answers) == 20
    # LawBench alone is ranked where it was asked, and sets about other law where it was not
    texts = [f"text {i}" for i in range(60)]
    rng = np.random.default_rng(1)
    asked = {"lawbench": task_of(list(rng.uniform(0.1, 0.5, 60)), texts)}
    law = {"contracts": readings.Task("x", rng.integers(0, 2, 60) * 1.0, rng.random(60), 0.0)}
    [measure] = [m for m in llm_workout_plan.STUDY.measures if m.name == "lawbench"]
    for its, title in ((asked | law, "lawbench"), (law, "contracts")):
        rows = {"base": [records.Record("base", 0, {}, {readings.QUESTIONS: its})]}
        found = scores.standing_for(measure, {"base": "base"}, rows, [{}])
        assert isinstance(found, scores.Scores)
        assert found.title == f"mean accuracy over {title} (60 questions)"
