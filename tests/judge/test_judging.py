"""The judge: what it is asked, what its verdicts become, and what is refused."""

import json
import math
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
import yaml
from chat_server import Reply, Request, serving
from good_judge import PYTHON, STEPS, good
from lab import ROOT, Lab, inside, write_lines
from results_tree import SMALL, results_tree

import judge
from compression_order.architecture.demands import Assumed
from compression_order.common import closure, declare, files
from compression_order.common.errors import HarnessError
from compression_order.judge import clarity, entries, prompts, settings
from compression_order.judge.prompts import Answer
from compression_order.judge.settings import Answering, Judge, Options
from compression_order.planning import graph
from compression_order.results import guards, page, readings, records, table
from compression_order.study import parse, study

OPENING = [("Name a fruit.", "An apple."), ("Name a bird.", "A robin."), ("Count to two.", "1 2")]


# --- readability, fluency, agreement -----------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "count"),
    [("cat", 1), ("make", 1), ("table", 2), ("looked", 1), ("wanted", 2), ("boxes", 2),
     ("makes", 1), ("makeup", 2), ("readability", 5), ("the", 1), ("sky", 1), ("people", 2),
     ("don't", 1), ("1984", 1), ("idea", 2)],
)  # fmt: skip
def test_syllables(word: str, count: int) -> None:
    assert clarity.syllables(word) == count


def test_flesch_by_hand() -> None:
    assert clarity.flesch("The cat sat on the mat.") == 100.0
    words, sentences, syllables = 7, 2, 5 + 1 + 1 + 2 + 1 + 1 + 1
    expected = 206.835 - 1.015 * words / sentences - 84.6 * syllables / words
    assert clarity.flesch("Organizations are here today. It is fine!") == expected
    assert 0 < expected < 100
    once = clarity.flesch("It costs 3.14 dollars, e.g. in the market")
    assert once == 206.835 - 1.015 * 8 - 84.6 * 10 / 8
    assert clarity.flesch("Incomprehensibilities internationalization.") == 0.0
    assert clarity.flesch("") == 0.0
    assert clarity.flesch("!!! ...") == 0.0


def test_fluency_falls_with_perplexity_and_as_published_rises() -> None:
    good, bad = Answer("a", "fine", 1.0, False), Answer("b", "worse", 3.0, False)
    assert clarity.fluency(good, "corrected") == pytest.approx(100 / math.e)
    assert clarity.fluency(good, "corrected") > clarity.fluency(bad, "corrected")
    assert clarity.fluency(good, "paper") == pytest.approx(math.e)
    assert clarity.fluency(good, "paper") < clarity.fluency(bad, "paper")
    assert clarity.fluency(Answer("c", "a a a", 0.01, True), "corrected") == 0
    assert clarity.fluency(Answer("c", "", None, True), "corrected") == 0
    assert clarity.fluency(Answer("c", "x", 20.0, False), "paper") == 100


def test_agreement_is_that_of_shrout_and_fleiss() -> None:
    """The example of the paper, table 2: ICC(1,1) = 0.17."""
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    found = entries.agreement([[x / 10 for x in row] for row in ratings])
    assert found["icc"] == pytest.approx(0.17, abs=0.005)
    assert found["sd"] == pytest.approx(math.sqrt(6.26) / 10, abs=0.001)
    assert found["count"] == 4
    assert found["same"] == 0
    alike = entries.agreement([[0.5, 0.5], [0.5, 0.5]])
    assert alike == {"count": 2, "same": 1.0, "sd": 0.0, "icc": None}
    assert entries.agreement([[0.1, 0.1], [0.9, 0.9]])["icc"] == 1.0


def test_an_entry_has_the_standard_error_over_answers() -> None:
    entry = entries.entry([[0.2], [0.4], [0.9]])
    assert entry["value"] == pytest.approx(0.5)
    assert entry["stderr"] == pytest.approx(np.std([0.2, 0.4, 0.9], ddof=1) / 3**0.5)
    assert "repeats" not in entry
    assert entries.entry([[0.2]])["stderr"] is None


# --- prompts and answers -----------------------------------------------------------------------


def test_prompts_of_a_text(tmp_path: Path) -> None:
    chat = tmp_path / "chat.jsonl"
    turns = [
        [("system", "Be brief."), ("user", "One?"), ("assistant", "1."), ("user", "Two?")],
        [("user", "Three?"), ("assistant", "3.")],
        [("user", "Three?"), ("assistant", "three")],
        [("user", "Four?"), ("assistant", "4.")],
    ]
    write_lines(
        chat, [{"messages": [{"role": r, "content": c} for r, c in each]} for each in turns]
    )
    found = prompts.read(chat, None, 0)
    assert [p.gold for p in found] == ["1.", "three", "4."]
    assert found[0].text == "system: Be brief.\n\nuser: One?"
    assert found[1].text == "Three?"
    assert len({p.id for p in found}) == 3
    assert [p.gold for p in prompts.read(chat, None, 2)] == ["1.", "three"]
    with pytest.raises(HarnessError, match="has 3 prompts to answer and"):
        prompts.read(chat, None, 4)
    write_lines(chat, [{"text": "no turns"}])
    with pytest.raises(HarnessError, match="has a record that is no conversation"):
        prompts.read(chat, None, 0)


def answered(lab: Lab, out: Path, *more: object) -> dict[str, Any]:
    inside(
        "answers", "--checkpoint", lab.base, "--reference", lab.base, "--text", lab.chats,
        "--splits", lab.splits, "--max-new-tokens=24", "--out", out,
        "--costs", out.parent / "costs", *more,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_answers_are_generated_once_and_never_contain_the_prompt(lab: Lab, tmp_path: Path) -> None:
    asked = prompts.read(lab.chats, lab.splits, 0)
    found = answered(lab, tmp_path / "answers.json")
    assert [a["id"] for a in found["answers"]] == [p.id for p in asked]
    assert found["sample_sha256"] == prompts.sample(asked)
    for prompt, one in zip(asked, found["answers"], strict=True):
        assert prompt.text not in one["text"]
        assert "<|" not in one["text"]
        assert one["tokens"] <= 24
        assert (one["loss"] is None) == (one["text"] == "")
    again = answered(lab, tmp_path / "again.json")
    assert again == found
    read = prompts.answers(tmp_path / "answers.json", asked)
    assert [a.text for a in read] == [a["text"] for a in found["answers"]]
    with pytest.raises(HarnessError, match="answers other prompts than the study asks"):
        prompts.answers(tmp_path / "answers.json", asked[:2])


def test_sampled_answers_follow_their_seed_prompt_by_prompt(lab: Lab, tmp_path: Path) -> None:
    def texts(name: str, *more: object) -> list[str]:
        return [a["text"] for a in answered(lab, tmp_path / name, *more)["answers"]]

    hot = ["--temperature=1.5"]
    one = texts("1.json", *hot, "--seed=1")
    assert one == texts("2.json", *hot, "--seed=1")
    assert one != texts("3.json", *hot, "--seed=2")
    assert one[:2] == texts("4.json", *hot, "--seed=1", "--prompts=2")


def test_a_prompt_that_does_not_fit_is_told(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"do not fit into the \d+ positions of the model"):
        answered(lab, tmp_path / "a.json", "--max-new-tokens=100000")
    assert not (tmp_path / "a.json").exists()


# --- the judge itself, in its own environment --------------------------------------------------


class Bench:
    """The files of one checkpoint before the judge."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.chat = folder, folder / "chat.jsonl"
        turns = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}]
                 for q, a in OPENING]  # fmt: skip
        write_lines(self.chat, [{"messages": each} for each in turns])
        self.asked = prompts.read(self.chat, None, 0)
        self.answers, self.out = folder / "row" / "answers.json", folder / "row" / "judge.json"
        self.answer(["A pear is a fruit.", "A crow.", ""])

    def answer(self, texts: list[str]) -> None:
        rows = [
            {"id": p.id, "text": text, "loss": 1.0 if text else None, "degenerate": not text}
            for p, text in zip(self.asked, texts, strict=True)
        ]
        whole = {"sample_sha256": prompts.sample(self.asked), "answers": rows}
        files.write_json(self.answers, whole)

    def run(
        self, part: str, url: str, *more: object, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        out = self.folder / "steps.json" if part == "steps" else self.out
        named: list[object] = ["--endpoint", url, "--model=wise", "--timeout=5", "--out", out]
        named += ["--store", self.folder / "store"]
        if part == "verdicts":
            named += ["--answers", self.answers, "--text", self.chat]
            named += ["--steps", self.folder / "steps.json"]
        command = [PYTHON, str(ROOT / "src/judge.py"), part, *map(str, [*named, *more])]
        return subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, timeout=timeout
        )

    def judged(self, url: str, *more: object) -> dict[str, Any]:
        for part in ("steps", "verdicts"):
            done = self.run(part, url, *more)
            assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(self.out.read_text())
        return found

    def refused(self, url: str, *more: object) -> str:
        """The one sentence that a failing judge gives; nothing is written."""
        files.write_json(self.folder / "steps.json", {"g_eval": STEPS, "coherence": STEPS})
        done = self.run("verdicts", url, *more)
        assert done.returncode == 1, done.stderr
        told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(told) == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert not self.out.exists()
        assert list(self.folder.rglob("*.partial")) == []
        return told[0]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# what its process imports once it has read its flags
IMPORTS = """
import json, sys
sys.path.insert(0, "src")
import judge
from compression_order.judge import judging
ours = [m for n, m in sys.modules.items() if n.split(".")[0] in ("judge", "compression_order")]
print(json.dumps({"files": [m.__file__ for m in ours], "torch": "torch" in sys.modules}))
"""


@pytest.mark.judge
def test_the_rules_watch_what_the_judge_imports() -> None:
    command = [PYTHON, "-c", IMPORTS]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    imported = json.loads(done.stdout)
    found = {ROOT / path for path in imported["files"]}
    assert {path for path in found if closure.decides(path)} == set(closure.of("judge.py"))
    assert not imported["torch"]


@pytest.mark.parametrize("part", ["steps", "verdicts"])
def test_help_tells_every_setting_of_the_judge(
    part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["judge.py", part, "--help"])
    with pytest.raises(SystemExit) as left:
        judge.main()
    assert left.value.code == 0
    words = " ".join(capsys.readouterr().out.split())
    for name, field, default in declare.leaves(Options):
        assert f"--{name.replace('_', '-')}" in words
        told = " ".join(str(field.description).split())
        assert told in words, name
        assert field.is_required() or f"{told} (default: " in words, (name, default)


@pytest.mark.judge
def test_verdicts_are_weighted_stored_and_reused(bench: Bench) -> None:
    with serving(good) as server:
        found = bench.judged(server.url)
        first = len(server.requests)
        # steps of two metrics; two answers with words for g_eval, alignment and coherence
        assert first == 2 + 3 * 2
        before = bench.out.read_bytes()
        bench.out.unlink()
        assert bench.judged(server.url)["metrics"] == found["metrics"]
        assert len(server.requests) == first
        assert bench.out.read_bytes() == before
        asked = [r["messages"][0]["content"] for r in server.requests]
    weighted = (8 * 0.6 + 9 * 0.2 + 7 * 0.1) / 0.9 / 10
    g_eval = found["metrics"]["g_eval"]
    assert g_eval["scores"] == pytest.approx([weighted, weighted, 0.0])
    assert g_eval["weighted"] == 1.0
    assert g_eval["value"] == pytest.approx(2 * weighted / 3)
    assert found["metrics"]["prompt_alignment"]["scores"] == [0.5, 0.5, 0.0]
    parts = found["metrics"]["clarity"]["parts"]
    assert parts["coherence"] == pytest.approx([100 * weighted, 100 * weighted, 0])
    assert parts["fluency"] == pytest.approx([100 / math.e, 100 / math.e, 0])
    assert parts["readability"][2] == 0
    assert found["judge"]["model"] == "wise"
    assert found["judge"]["deepeval"] == "4.3.1"
    assert found["answered_by"] == ["wise-0613"]
    assert found["prompts"] == [p.id for p in bench.asked]
    assert all(r["temperature"] == 0 and r["seed"] == 0 for r in server.requests)
    (one,) = [a for a in asked if "A pear" in a and "Input:" in a and "Steps" in a]
    assert "1. Check the facts.\n2. Check the relevance." in one
    assert "your concise and informative reason here" in one  # what a small judge repeats
    assert "Expected Output:\nAn apple." in one
    (listed,) = [a for a in asked if "A pear" in a and "Prompt Instructions" in a]
    assert "['Output should be concise.', 'Output should be relevant" in listed
    stored = [json.loads(p.read_text()) for p in (bench.folder / "store").rglob("*.json")]
    assert len(stored) == first
    assert {v["key"]["model"] for v in stored} == {"wise"}
    assert all("said" in v["verdict"] and "judge_prompt_sha256" in v["verdict"] for v in stored)
    assert not (bench.folder / ".deepeval").exists()


@pytest.mark.judge
def test_without_log_probabilities_the_number_itself_counts(bench: Bench) -> None:
    with serving(good) as server:
        found = bench.judged(server.url, "--log-probabilities=false", "--metrics=g_eval")
        assert all("logprobs" not in r for r in server.requests)
    assert found["metrics"].keys() == {"g_eval"}
    assert found["metrics"]["g_eval"]["scores"] == [0.8, 0.8, 0.0]
    assert found["metrics"]["g_eval"]["weighted"] == 0.0


@pytest.mark.judge
def test_repeats_are_asked_with_their_own_seeds_and_their_agreement_told(bench: Bench) -> None:
    def wavering(request: Request) -> str | Reply:
        said = good(request)
        text = said.text if isinstance(said, Reply) else said
        return text.replace("8", "4") if request["seed"] == 1 else text

    with serving(wavering) as server:
        found = bench.judged(server.url, "--repeats=2", "--metrics=g_eval")
        assert sorted(r["seed"] for r in server.requests) == [0, 0, 0, 1, 1]
    entry = found["metrics"]["g_eval"]
    assert entry["scores"] == pytest.approx([0.6, 0.6, 0.0])
    assert entry["repeats"]["same"] == pytest.approx(1 / 3)
    assert entry["repeats"]["sd"] == pytest.approx(math.sqrt(2 / 3 * 0.08))


@pytest.mark.judge
def test_the_published_configuration_with_its_quirks(bench: Bench) -> None:
    def one_verdict(request: Request) -> str | Reply:
        said = good(request)
        return '{"verdicts": [{"verdict": "yes"}]}' if isinstance(said, str) else said

    with serving(one_verdict) as server:
        found = bench.judged(server.url, "--variant=paper", "--embedding-model=minilm")
        asked = [r["messages"][0]["content"] for r in server.requests if "messages" in r]
        embedded = [r for r in server.requests if "input" in r]
    rated = [a for a in asked if "Evaluation Steps:" in a]
    assert len(rated) == 3
    assert all("1. Evaluate the correctness and relevance of the response.\n" in a for a in rated)
    assert not any("Expected Output" in a for a in rated)
    assert any("Actual Output:\nName a fruit.\nA pear is a fruit." in a for a in rated)
    assert any("Actual Output:\nCount to two.\n" in a for a in rated)
    listed = "['Output should be concise and relevant to the question asked.']"
    assert sum(listed in a for a in asked) == 3
    assert {r["model"] for r in embedded} == {"minilm"}
    one, other = (np.array([len(t), 1.0]) for t in embedded[0]["input"])
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    parts = found["metrics"]["clarity"]["parts"]
    assert min(abs(c - 100 * cosine) for c in parts["coherence"]) < 1e-9
    assert parts["fluency"] == pytest.approx([math.e, math.e, 100])


@pytest.mark.judge
@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("I like turtles.", "gave no score ('I like turtles.') for g_eval"),
        ('{"reason": "half", "sco', "gave no score ("),
        ('{"reason": "no score"}', "gave no score ("),
        ('{"reason": "much", "score": 15}', "gave a score outside 0 to 10"),
        ('{"reason": "nan", "score": NaN}', "gave a score outside 0 to 10"),
        ('{"reason": "word", "score": "good"}', "gave no score ("),
        (
            json.dumps({"reason": "your concise and informative reason here", "score": 0}),
            "gave the example of its instructions",
        ),
        ("", "gave no text for g_eval"),
        (Reply(body=b'{"choices": [{"mess'), "gave a response that is not JSON for g_eval"),
        (Reply("no such model", status=404), "with HTTP 404 (Error code: 404"),
        (Reply("logprobs are not supported", status=400), "set judge.log_probabilities: false"),
        (Reply("who are you", status=401), "put its key into the variable JUDGE_API_KEY"),
    ],
)  # fmt: skip
def test_a_judge_that_answers_nonsense_is_told(bench: Bench, said: str | Reply, words: str) -> None:
    with serving(lambda request: said) as server:
        told = bench.refused(server.url, "--attempts=2", "--metrics=g_eval")
        again = [r["temperature"] for r in server.requests]
    assert words in told
    if isinstance(said, str):
        assert f"prompt {bench.asked[0].id[:12]}" in told or bench.asked[1].id[:12] in told
        assert 1.0 in again  # asked again, not at temperature 0
    assert not list((bench.folder / "store").rglob("*.json"))


@pytest.mark.judge
@pytest.mark.parametrize(
    "said",
    ['{"verdicts": []}', '{"verdicts": [{"verdict": "yes"}]}', '{"verdicts": null}',
     '{"verdicts": [{"verdict": "maybe"}, {"verdict": "yes"}]}', "yes, yes",
     '{"verdicts": ["yes"]}'],
)  # fmt: skip
def test_alignment_needs_one_yes_or_no_for_each_instruction(bench: Bench, said: str) -> None:
    with serving(lambda request: said) as server:
        told = bench.refused(server.url, "--attempts=1", "--metrics=prompt_alignment")
    assert "verdicts" in told
    assert "for prompt_alignment of the answer to prompt" in told


@pytest.mark.judge
def test_a_judge_that_does_not_answer_in_time(bench: Bench) -> None:
    with serving(lambda request: Reply("late", wait=2)) as server:
        told = bench.refused(server.url, "--timeout=0.2", "--attempts=1", "--metrics=g_eval")
    assert "gave no answer within 0.2 s in 1 attempts" in told
    told = bench.refused(server.url, "--attempts=1")
    assert "cannot be reached" in told


@pytest.mark.judge
def test_what_was_judged_before_a_fault_is_kept(bench: Bench) -> None:
    def faint(request: Request) -> str | Reply:
        asked = request["messages"][0]["content"]
        return "nonsense" if "A crow" in asked else good(request)

    flags = ["--metrics=g_eval", "--attempts=1", "--parallel=1"]
    with serving(faint) as server:
        bench.refused(server.url, *flags)
        assert len(list((bench.folder / "store").rglob("*.json"))) == 1
        server.answer, server.requests = good, []
        done = bench.run("verdicts", server.url, *flags)
        assert done.returncode == 0, done.stderr
        assert len(server.requests) == 1


@pytest.mark.judge
def test_a_second_attempt_may_succeed_and_the_key_is_sent(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", "secret-of-the-test")

    def second(request: Request) -> str | Reply:
        return good(request) if request["seed"] >= 1000 else "hm"

    with serving(second) as server:
        bench.judged(server.url, "--metrics=g_eval", "--attempts=2")
        assert set(server.keys) == {"Bearer secret-of-the-test"}
    told = "".join(p.read_text() for p in bench.folder.rglob("*.json"))
    assert "secret-of-the-test" not in told
    stored = [json.loads(p.read_text()) for p in (bench.folder / "store").rglob("*.json")]
    assert {v["verdict"]["attempt"] for v in stored} == {2}


@pytest.mark.judge
@pytest.mark.parametrize(
    ("form", "kind"), [("json_object", "json_object"), ("json_schema", "json_schema")]
)
def test_the_server_may_be_told_the_form(bench: Bench, form: str, kind: str) -> None:
    with serving(good) as server:
        bench.judged(server.url, f"--response-format={form}")
        formats = [r["response_format"] for r in server.requests]
    assert {f["type"] for f in formats} == {form}
    if form == "json_schema":
        names = {f["json_schema"]["name"] for f in formats}
        assert names == {"Steps", "ReasonScore", "Verdicts"}


@pytest.mark.judge
def test_a_damaged_verdict_is_told(bench: Bench) -> None:
    with serving(good) as server:
        bench.judged(server.url, "--metrics=g_eval")
        path = next((bench.folder / "store").rglob("g_eval/*/*.json"))
        path.write_text('{"verdict": {"score": 1}}')
        bench.out.unlink()
        told = bench.refused(server.url, "--metrics=g_eval")
    assert "is not the verdict that its name says; delete it and run again" in told


# --- the study and the table -------------------------------------------------------------------


def judge_of(**changes: object) -> dict[str, Any]:
    answers = {"text": "alpaca", "prompts": 4, "max_new_tokens": 16, "temperature": 0.0}
    entry = {"answers": answers, "endpoint": "http://localhost:1/v1", "model": "wise"}
    return {k: v for k, v in (entry | changes).items() if v is not None}


def with_judge(**changes: object) -> study.Study:
    smoke = yaml.safe_load((ROOT / "studies/smoke.yaml").read_text())
    return parse.build({**smoke, "judge": judge_of(**changes)}, "the study", ROOT)


def test_a_study_says_no_judge_by_default() -> None:
    plain = parse.read([ROOT / "studies" / "smoke.yaml"], ROOT)
    assert plain.judge is None
    assert "--judged" not in plain.row_flags()
    asked = with_judge(metrics="clarity,g_eval")
    assert asked.its_judge.asked == ["g_eval", "clarity"]
    assert "--judged" in asked.row_flags()
    assert "--splits=results/smoke/splits.json" in asked.prompt_flags()
    assert "--endpoint=http://localhost:1/v1" in asked.judge_flags()
    assert not any("prompts" in flag for flag in asked.judge_flags())


def test_the_overlay_is_a_judge_with_every_key() -> None:
    overlay = ROOT / "studies/overlays/judge.yaml"
    made = parse.read([ROOT / "config.yaml", overlay], ROOT)
    assert made.judge is not None
    entry = yaml.safe_load(overlay.read_text())["judge"]
    assert entry.keys() == Judge.model_fields.keys() - {"embedding_model"}
    assert entry["answers"].keys() == Answering.model_fields.keys()
    assert made.judge.asked == list(settings.METRICS)


def test_the_planner_counts_the_answers() -> None:
    made, assumed = with_judge(), Assumed()
    jobs = graph.jobs(made, graph.architecture(made), assumed, ROOT)
    its = {job.name: job.demand for job in jobs if job.kind == "answers"}
    assert its.keys() == {f"answers {row}" for row in made.plan.rows}
    generated, fluency = its["answers base"].parts
    assert generated.tokens == 4 * (assumed.question + 16)
    assert fluency.tokens == 4 * 16
    double = with_judge(answers={"text": "alpaca", "prompts": 8, "max_new_tokens": 16})
    more = graph.jobs(double, graph.architecture(double), assumed, ROOT)
    (twice,) = [job.demand.flops for job in more if job.name == "answers base"]
    assert twice == 2 * its["answers base"].flops


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"endpoint": "localhost:8000"}, "judge.endpoint: 'localhost:8000' must match"),
        ({"model": None}, "judge: the key 'model' is missing; add it"),
        ({"metrics": "g_eval,wit"}, "judge.metrics: 'g_eval,wit' must match"),
        ({"repeats": 0}, "judge.repeats: 0 must be at least 1"),
        ({"variant": "paper"}, "judge: the key 'embedding_model' is missing; `variant: paper`"),
        ({"answers": {"text": "wiki", "prompts": 4}}, "judge.answers.text: 'wiki' is not defined"),
        ({"api_key": "x"}, "judge: the key 'api_key' is not known here"),
    ],
)  # fmt: skip
def test_a_judge_that_cannot_be_is_told(changes: dict[str, object], words: str) -> None:
    with pytest.raises(HarnessError) as fault:
        with_judge(**changes)
    assert words in str(fault.value)


def test_every_key_of_the_judge_is_a_flag() -> None:
    keys = set(Judge.model_fields) - {"answers"}
    parsed = judge.parser().parse_args(["steps", "--endpoint=x", "--model=y", "--out=z"])
    assert keys == set(Options.model_fields) == set(vars(parsed)) - {"part", "out", "store"}
    assert set(settings.METRICS) == {"g_eval", "prompt_alignment", "clarity"}


def judged_row(root: Path, row: str, scores: list[float], sample: str = "s", seed: int = 0) -> None:
    at = root / f"seed{seed}" / "evaluations" / row / "judge.json"
    entry = {"value": float(np.mean(scores)), "stderr": 0.0, "scores": scores}
    whole = {"sample_sha256": sample, "prompts": ["a", "b", "c"], "metrics": {"g_eval": entry}}
    files.write_json(at, whole)


def test_the_table_has_a_column_only_with_a_judge(tmp_path: Path) -> None:
    root = results_tree(tmp_path, SMALL)
    for number, row in enumerate(SMALL):
        judged_row(root, row, [0.1, 0.3, 0.1 * number])
    plain = table.build(SMALL, guards.load(root, SMALL, [0]), {}, None, {})
    assert not any("g_eval" in c.name for c in plain.columns if "published" not in c.name)
    records = guards.load(root, SMALL, [0], judged=True)
    made = table.build(SMALL, records, {}, None, {})
    names = [c.name for c in made.columns]
    assert names[names.index("g_eval") + 1] == "g_eval_se"
    judged = made.rows[SMALL.index("P-Q")]
    number = SMALL.index("P-Q")
    scores = [0.1, 0.3, 0.1 * number]
    assert judged["g_eval"] == pytest.approx(np.mean(scores))
    assert judged["g_eval_se"] == pytest.approx(np.std(scores, ddof=1) / 3**0.5)
    shown = page.markdown("x", made, records, None)
    assert f"{np.mean(scores):.3f} ± " in shown


@pytest.mark.parametrize(
    ("scores", "sample", "words"),
    [
        ([0.1, 0.2, 0.3], "other judge", "sample_sha256 of 'g_eval' is other judge"),
        ([0.1, 0.2], "s", "'g_eval' has 2 scores of 3 answers"),
        ([], "s", "'g_eval' has 0 scores of 3 answers"),
    ],
)
def test_verdicts_of_another_judge_cannot_enter_the_table(
    tmp_path: Path, scores: list[float], sample: str, words: str
) -> None:
    root = results_tree(tmp_path, SMALL)
    for row in SMALL:
        judged_row(root, row, [0.1, 0.3, 0.5])
    judged_row(root, "P", scores, sample) if scores else files.write_json(
        root / "seed0" / "evaluations" / "P" / "judge.json",
        {"sample_sha256": "s", "prompts": ["a"] * 3, "metrics": {"g_eval": {"scores": []}}},
    )
    with pytest.raises(HarnessError) as fault:
        guards.load(root, SMALL, [0], judged=True)
    assert words in str(fault.value)
    (root / "seed0" / "evaluations" / "P" / "judge.json").unlink()
    with pytest.raises(HarnessError, match=r"judge\.json does not exist"):
        guards.load(root, SMALL, [0], judged=True)


def test_a_judge_of_one_verdict_is_named(tmp_path: Path) -> None:
    alike, apart = np.full(20, 0.3), np.array([0.3] * 19 + [0.4])
    for scores, words in ((alike, ["g_eval: one verdict, 0.300, for all 20 answers"]), (apart, [])):
        judged = {"g_eval": readings.Judged("s", scores)}
        record = records.Record("P", 0, {}, {readings.VERDICTS: judged})
        assert list(guards.suspicious(record)) == words


# --- for real ------------------------------------------------------------------------------------


@pytest.fixture
def transformers_serve(tmp_path: Path, smollm2: Path) -> Iterator[str]:
    """The address of a real server of SmolLM2-135M-Instruct: transformers' own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    served = tmp_path / "smollm2"
    served.mkdir()
    for path in smollm2.iterdir():
        (served / path.name).symlink_to(path)
    # this server draws at a temperature only where the model's own files say that it is drawn from
    own = json.loads((served / "generation_config.json").read_text())
    (served / "generation_config.json").unlink()
    files.write_json(served / "generation_config.json", own | {"do_sample": True})
    serve = "import sys; from transformers.cli.transformers import main; main()"
    command = [os.environ.get("PYTHON_SERVE", sys.executable), "-c", serve, "serve", "smollm2"]
    command += ["--host=127.0.0.1", f"--port={port}", "--device=cpu"]
    env = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = tmp_path / "serve.log"
    with log.open("w") as stream:
        server = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=stream, stderr=stream)
    try:
        for _ in range(180):
            assert server.poll() is None, log.read_text()[-2000:]
            with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                break
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.judge
@pytest.mark.slow
def test_a_real_server_with_a_small_judge(bench: Bench, transformers_serve: str) -> None:
    """SmolLM2-135M as a judge: too small to be worth anything, and every word of it is real."""
    files.write_json(bench.folder / "steps.json", {"g_eval": STEPS})
    flags = ["--model=smollm2", "--metrics=g_eval", "--max-tokens=120", "--timeout=120"]
    flags += ["--attempts=20", "--parallel=1"]
    done = bench.run("verdicts", transformers_serve, *flags, timeout=900)
    assert done.returncode == 0, done.stderr
    entry = json.loads(bench.out.read_text())
    scores = entry["metrics"]["g_eval"]["scores"]
    assert len(scores) == 3
    assert all(0 <= score <= 1 for score in scores)
    assert entry["metrics"]["g_eval"]["weighted"] == 0.0  # it gives no log-probabilities
    assert entry["answered_by"] == ["smollm2@main"]
    stored = [json.loads(p.read_text()) for p in (bench.folder / "store").rglob("*.json")]
    assert len(stored) == 2
    for verdict in (v["verdict"] for v in stored):
        assert json.loads(re.sub(r".*?(\{.*\}).*", r"\1", verdict["said"], flags=re.S))["reason"]
    # it cannot follow the form of G-Eval's steps: one sentence, and nothing is written
    (bench.folder / "steps.json").unlink()
    done = bench.run("steps", transformers_serve, *flags[:-2], "--attempts=1", timeout=300)
    assert done.returncode == 1, done.stderr
    assert "gave no " in done.stderr
    assert not (bench.folder / "steps.json").exists()
