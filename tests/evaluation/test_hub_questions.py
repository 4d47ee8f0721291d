"""lm-eval's own tasks on snapshots of hub datasets: real runs without a network."""

import random
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_hub
import hub_fixtures
import numpy as np
import pytest
from lab import ROOT, Lab, cli, inside
from lm_eval.api.group import Group
from transformers import AutoModelForCausalLM, AutoTokenizer

from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.evaluation import hub_questions, questions
from compression_order.evaluation.hub_questions import HubAsked, Sources
from compression_order.results import guards, readings, records
from compression_order.study import hub_tasks

INDEX = hub_tasks.index(ROOT)
REVISION = "0123456789" * 4


class Sockets:
    """Refuses every socket of a network while it is closed."""

    closed = False

    @classmethod
    def hook(cls, event: str, args: tuple[Any, ...]) -> None:
        if cls.closed and event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            raise AssertionError(f"a socket was used: {event} {args!r}")


sys.addaudithook(Sockets.hook)


@pytest.fixture(autouse=True)
def no_network() -> Iterator[None]:
    Sockets.closed = True
    yield
    Sockets.closed = False


def test_a_socket_would_be_seen() -> None:
    with pytest.raises(AssertionError, match="a socket was used"):
        socket.create_connection(("127.0.0.1", 9))


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every dataset as the workflow lays it out: links into a cache, and asset.json."""
    root = tmp_path_factory.mktemp("hub")
    found = {}
    for name, write in hub_fixtures.SNAPSHOTS.items():
        blobs, folder = root / "cache" / name, root / "assets" / name / REVISION
        write(blobs)
        for path in (p for p in sorted(blobs.rglob("*")) if p.is_file()):
            link = folder / path.relative_to(blobs)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
        files.write_json(folder / "asset.json", {"files": {}})
        found[name] = folder
    return found


@pytest.fixture(scope="module")
def nltk_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nltk")
    hub_fixtures.punkt(folder)
    return folder


def sources(snapshots: dict[str, Path], nltk: Path | None, *tasks: str) -> Sources:
    return Sources(snapshots, sorted({INDEX[task].folder for task in tasks}), nltk)


def model(lab: Lab, kind: type = questions.ToldHFLM) -> Any:
    own = AutoModelForCausalLM.from_pretrained(lab.base)
    return kind(own, AutoTokenizer.from_pretrained(lab.base), 8, "test")


def ask(
    lm: Any, snapshots: dict[str, Path], nltk: Path | None, scratch: Path, **tasks: int
) -> dict[str, Any]:
    asked = [HubAsked(name, count) for name, count in tasks.items()]
    prepared = hub_questions.prepare(asked, sources(snapshots, nltk, *tasks), scratch)
    return questions.answer(lm, prepared)


CHOICES = {
    "arc_easy": 0,
    "arc_challenge": 3,
    "hellaswag": 0,
    "winogrande": 0,
    "piqa": 5,
    "openbookqa": 0,
}


def test_choices_are_scored_as_lm_eval_scores_them(
    lab: Lab, snapshots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, Any] = {}
    real = questions.simple_evaluate

    def keeping(**settings: Any) -> Any:
        kept.update(real(**settings))
        return kept

    monkeypatch.setattr(questions, "simple_evaluate", keeping)
    found = ask(model(lab), snapshots, None, tmp_path, **CHOICES)
    assert list(found) == list(CHOICES)
    for name, entry in found.items():
        assert entry["samples"] == (CHOICES[name] or hub_fixtures.EACH)
        assert entry["metric"] == ("acc" if name == "winogrande" else "acc_norm")
        theirs = kept["results"][name][f"{entry['metric']},none"]
        assert entry["value"] == pytest.approx(theirs)
        assert round(1 / entry["chance"]) == INDEX[name].passes
        assert (entry["shots"], entry["chat_template"]) == (0, None)
        assert entry["datasets"] == {INDEX[name].datasets[0]: REVISION}
        logged = sorted(kept["samples"][name], key=lambda sample: sample["doc_id"])
        if name == "winogrande":
            golds = [int(sample["doc"]["answer"]) - 1 for sample in logged]
        else:
            golds = [int(sample["target"]) for sample in logged]
        pairs = zip(entry["choice"], golds, strict=True)
        assert entry["correct"] == [int(choice == gold) for choice, gold in pairs]
    assert [s["doc_id"] for s in kept["samples"]["piqa"]] == [0, 1, 3, 4, 6]
    # three, four and five choices: the level of guessing is that of the questions asked
    assert found["arc_easy"]["chance"] == pytest.approx((7 / 4 + 1 / 5) / 8)


@pytest.mark.slow
def test_examples_before_a_question_come_from_the_datasets_own_split(
    lab: Lab, snapshots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, Any] = {}
    real = questions.simple_evaluate
    monkeypatch.setattr(
        questions, "simple_evaluate", lambda **s: kept.update(real(**s)) or kept
    )  # fmt: skip
    for shots in (None, 2):
        asked = [HubAsked("mmlu_international_law", 3, shots)]
        scratch = tmp_path / str(shots)
        given = sources(snapshots, None, "mmlu_international_law")
        prepared = hub_questions.prepare(asked, given, scratch)
        entry = questions.answer(model(lab), prepared)["mmlu_international_law"]
        assert entry["shots"] == (shots or 0)
        for sample in kept["samples"]["mmlu_international_law"]:
            prompt = sample["arguments"][0][0]
            assert prompt.count("Answer:") == 1 + (shots or 0)
            assert prompt.endswith("Answer:")


def test_a_group_is_one_record_weighted_as_lm_eval_weights_it(
    lab: Lab, snapshots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, Any] = {}
    real = questions.simple_evaluate

    def keeping(**settings: Any) -> Any:
        kept.update(real(**settings), tasks=settings["tasks"])
        return kept

    monkeypatch.setattr(questions, "simple_evaluate", keeping)
    entry = ask(model(lab), snapshots, None, tmp_path, mmlu=2)["mmlu"]
    assert entry["samples"] == len(entry["correct"]) == 57 * 2
    assert entry["chance"] == 0.25
    subjects = [f"mmlu_{subject}" for subject in hub_fixtures.subjects()]
    assert list(entry["groups"]) == subjects
    for number, subject in enumerate(subjects):
        part = entry["correct"][2 * number : 2 * number + 2]
        assert entry["groups"][subject] == {"value": sum(part) / 2, "samples": 2}
    manager = Sources({}, ["mmlu/default"]).manager()
    group = Group.from_config({**manager.task_index["mmlu"].cfg, "task": subjects})
    for task in kept["tasks"]:
        group.add(task)
    assert group.aggregate(kept["results"])["acc,none"] == pytest.approx(entry["value"])


def test_answers_are_generated_greedily_and_kept(
    lab: Lab, snapshots: dict[str, Path], nltk_data: Path, tmp_path: Path
) -> None:
    lm = model(lab)
    # what a model's own file may say, and what must not decide an answer
    lm.model.generation_config.repetition_penalty = 1.5
    lm.model.generation_config.max_new_tokens = 3
    longest: list[int] = []
    real = lm._model_generate

    def keeping(context: Any, **settings: Any) -> Any:
        longest.append(settings["max_length"] - context.shape[1])
        assert settings["do_sample"] is False
        assert lm.model.generation_config.repetition_penalty in (None, 1.0)
        assert lm.model.generation_config.max_new_tokens is None
        return real(context, **settings)

    lm._model_generate = keeping
    found = ask(lm, snapshots, nltk_data, tmp_path, gsm8k=3, ifeval=2)
    assert sorted(longest) == [INDEX["gsm8k"].generated, INDEX["ifeval"].generated]
    assert lm.model.generation_config.max_new_tokens == 3  # the model is as it was
    for name, metric, kept in (
        ("gsm8k", "exact_match", "strict-match"), ("ifeval", "prompt_level_strict_acc", "none"),
    ):  # fmt: skip
        entry = found[name]
        assert (entry["metric"], entry["filter"], entry["chance"]) == (metric, kept, 0.0)
        assert entry["shots"] == INDEX[name].shots
        assert len(entry["answers"]) == entry["samples"]
        pairs = {(c, a) for c, a in zip(entry["choice"], entry["answers"], strict=True)}
        assert len(pairs) == len(set(entry["answers"]))


class Knowing(questions.ToldHFLM):
    """A model that can add, and says so in two ways; every fourth answer is wrong or missing."""

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        said = []
        for number, request in enumerate(requests):
            assert request.args[0].count("Question:") == 6  # five examples, one question
            right = request.doc["answer"].rpartition("#### ")[2]
            said.append((f" #### {right}", f" It is {right}", f"Sum\n#### {right}", "")[number % 4])
        return said


def test_gsm8k_counts_the_strict_answers(
    lab: Lab, snapshots: dict[str, Path], tmp_path: Path
) -> None:
    entry = ask(model(lab, Knowing), snapshots, None, tmp_path, gsm8k=4)["gsm8k"]
    assert entry["correct"] == [1, 0, 1, 0]
    assert entry["value"] == 0.5
    assert entry["answers"][3] == ""


def test_ifeval_checks_sentences_words_and_languages(
    snapshots: dict[str, Path], nltk_data: Path, tmp_path: Path
) -> None:
    [one] = hub_questions.prepare(
        [HubAsked("ifeval", 0)], sources(snapshots, nltk_data, "ifeval"), tmp_path
    )
    task = one.leaves["ifeval"]
    docs = list(task.eval_docs)
    assert [doc["key"] for doc in docs] == [1000 + i for i in range(8)]  # asset.json is no question
    german = "Der Garten ist sehr schön und die Blumen stehen neben dem alten Haus."

    def right(number: int, answer: str) -> bool:
        return bool(task.process_results(docs[number], [answer])["prompt_level_strict_acc"])

    assert right(0, "it stands there. dr. Smith saw it.") is False  # a capital letter
    assert right(0, "it stands there. he saw it.") is True
    assert right(0, "it is. it was. it will be. it is not.") is False  # four sentences
    assert right(1, german) is True
    assert right(1, "The garden is very beautiful and the flowers stand there.") is False
    assert right(2, "ONE and TWO") is True


def test_another_revision_is_another_sample(
    lab: Lab, snapshots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    monkeypatch.setattr(hub_fixtures, "rng", lambda _: random.Random(7))
    hub_fixtures.piqa(other)
    lm = model(lab)
    first = ask(lm, snapshots, None, tmp_path / "1", piqa=3)["piqa"]
    again = ask(lm, snapshots, None, tmp_path / "2", piqa=3)["piqa"]
    changed = ask(lm, {"baber/piqa": other}, None, tmp_path / "3", piqa=3)["piqa"]
    assert first == again
    assert first["sample_sha256"] != changed["sample_sha256"]


@pytest.mark.parametrize(
    ("dataset", "task", "patterns"),
    [
        ("google/IFEval", "ifeval", []),
        ("openai/gsm8k", "gsm8k", ["README.md", "main/*"]),  # nothing of `socratic`
    ],
)
def test_a_snapshot_that_the_workflow_fetched_is_asked(
    dataset: str,
    task: str,
    patterns: list[str],
    nltk_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub_fixtures.SNAPSHOTS[dataset](tmp_path / "files")
    fake_hub.repository(tmp_path / "hub", "datasets", dataset, REVISION, tmp_path / "files")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    folder = tmp_path / "assets" / REVISION
    done = cli(
        "fetch", "hub", "--kind=datasets", f"--repository={dataset}", f"--revision={REVISION}",
        "--out", folder, *(f"--files={pattern}" for pattern in patterns),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [one] = hub_questions.prepare(
        [HubAsked(task, 0)], sources({dataset: folder}, nltk_data, task), tmp_path / "scratch"
    )
    assert len(one.leaves[task].eval_docs) == 8
    assert one.facts["datasets"] == {dataset: REVISION}


def test_the_command_writes_records_that_the_table_reads(
    lab: Lab, snapshots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "tmp").mkdir()
    out = tmp_path / "seed0" / "evaluations" / "base"
    inside(
        "measure", "--checkpoint", lab.base, "--documents", lab.chats, "--splits", lab.splits,
        "--reference", lab.reference, "--hub-tasks=arc_easy:0", "--hub-tasks=gsm8k:2",
        "--task-folder=arc", "--task-folder=gsm8k", "--out", out, "--costs", tmp_path / "costs",
        *(f"--dataset={name}={folder}" for name, folder in snapshots.items()),
    )  # fmt: skip
    record = records.read(tmp_path / "seed0", "base", 0)
    assert list(record.tasks) == ["arc_easy", "gsm8k"]
    assert len(record.tasks["gsm8k"].answers) == 2
    assert [text for text in guards.suspicious(record) if "gsm8k" in text] == []  # only two
    assert list((tmp_path / "tmp").iterdir()) == []


def test_guards_name_answers_that_say_nothing(tmp_path: Path) -> None:
    told = ["", "!!!!!!", "no no no no", "  "]
    answers = (*told * 3, *(f"the answer is {i}" for i in range(8)))
    choice = [float(answers.index(a)) for a in answers]
    task = readings.Task("x", np.zeros(20), np.asarray(choice), 0.0, answers)
    record = records.Record("P", 0, {}, {readings.QUESTIONS: {"gsm8k": task}})
    assert list(guards.suspicious(record)) == [
        "acc_gsm8k: 60.0% of 20 answers are empty or repeat one word"
    ]
    fine = readings.Task("x", np.zeros(20), np.asarray(choice), 0.0, answers[3:])
    told = records.Record("P", 0, {}, {readings.QUESTIONS: {"g": fine}})
    assert list(guards.suspicious(told)) == []


# --- bad input --------------------------------------------------------------------------------


def forget_ifeval(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.startswith("lm_eval.tasks.ifeval")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(
    ("task", "given", "says"),
    [
        ("nothing_known", {}, ["no task or group 'nothing_known'"]),
        ("piqa", {"snapshots": {}}, ["piqa reads the dataset baber/piqa", "`datasets`"]),
        ("piqa", {"snapshots": {"baber/piqa": "Rowan/hellaswag"}}, ["piqa", "baber/piqa", "files"]),
        ("openbookqa", {"snapshots": {"allenai/openbookqa": "baber/piqa"}}, ["'main'", "revision"]),
        ("ifeval", {}, ["NLTK's punkt_tab", "`evaluations.nltk`"]),
        ("ifeval", {"missing": "langdetect"}, ["ifeval needs the Python package langdetect"]),
    ],
)
def test_what_cannot_be_asked_is_told_before_a_model_is_loaded(
    task: str,
    given: dict[str, Any],
    says: list[str],
    snapshots: dict[str, Path],
    nltk_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forget_ifeval(monkeypatch)
    folders, nltk = snapshots, None
    if "snapshots" in given:
        folders = {name: snapshots[other] for name, other in given["snapshots"].items()}
    if "missing" in given:
        monkeypatch.setitem(sys.modules, given["missing"], None)
        nltk = nltk_data
    within = [INDEX[task].folder] if task in INDEX else ["arc"]
    with pytest.raises(HarnessError) as fault:
        hub_questions.prepare([HubAsked(task, 1)], Sources(folders, within, nltk), tmp_path)
    assert "\n" not in str(fault.value)
    for part in says:
        assert part in str(fault.value)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--hub-tasks=mmlu"], ["--hub-tasks: 'mmlu'", "mmlu:20"]),
        (["--hub-tasks=mmlu:1", "--hub-shots=mmlu"], ["--hub-shots: 'mmlu'", "examples"]),
        (["--hub-tasks=mmlu:1", "--hub-shots=piqa:1"], ["--hub-shots: 'piqa' is not asked"]),
        (["--dataset=cais/mmlu"], ["--dataset: 'cais/mmlu'", "equals sign"]),
        (["--dataset=cais/mmlu=no/such"], ["--dataset: the folder no/such of cais/mmlu"]),
        (["--hub-tasks=piqa:1", "--task-folder=pica"], ["--task-folder", "'pica'"]),
    ],
)
def test_a_wrong_flag_is_told(flags: list[str], says: list[str], tmp_path: Path) -> None:
    with pytest.raises(HarnessError) as fault:
        inside(
            "measure", "--checkpoint=none", "--documents=none", "--splits=none",
            "--reference=none", "--out", tmp_path, *flags,
        )  # fmt: skip
    for part in says:
        assert part in str(fault.value)


def test_a_model_that_is_too_short_is_refused(
    lab: Lab, snapshots: dict[str, Path], nltk_data: Path, tmp_path: Path
) -> None:
    lm = model(lab)
    lm._max_length = 1000
    one = hub_questions.prepare(
        [HubAsked("ifeval", 1)], sources(snapshots, nltk_data, "ifeval"), tmp_path
    )
    with pytest.raises(HarnessError, match=r"ifeval: .* 1280 tokens .* 1000 .*leave the task out"):
        questions.require_room(lm, one)
