"""lm-eval's own tasks in a study: the index against lm-eval, the refusals, the plan."""

import copy
from pathlib import Path
from typing import Any

import hub_fixtures
import pytest
import yaml
from lab import ROOT
from lm_eval.models.huggingface import HFLM

from compression_order.architecture import demands, memory, shapes
from compression_order.common.errors import HarnessError
from compression_order.evaluation import hub_questions
from compression_order.evaluation.hub_questions import Sources
from compression_order.planning import evaluations
from compression_order.study import hub_tasks, parse, study

INDEX = hub_tasks.index(ROOT)
REVISION = "0123456789" * 4
NLTK = {"package": "llama-index-core", "member": "punkt_tab/english"}
PIN = {
    "version": "0.14.25",
    "file": "llama_index_core-0.14.25-py3-none-any.whl",
    "sha256": "0" * 64,
}


def asking(tasks: dict[str, int], *without: str) -> dict[str, Any]:
    """The smoke study with these tasks, all that they read pinned but for `without`."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "studies/smoke.yaml").read_text())
    config["evaluations"] |= {"hub_tasks": tasks, "tasks": {"contracts": 10}, "nltk": dict(NLTK)}
    config["packages"]["llama-index-core"] = dict(PIN)
    config["datasets"] = {n: REVISION for n in hub_fixtures.SNAPSHOTS if n not in without}
    return config


def build(config: dict[str, Any]) -> study.Study:
    return parse.build(config, "s.yaml", ROOT)


# --- the index, against lm-eval's own files ---------------------------------------------------


@pytest.mark.parametrize("name", sorted(INDEX))
def test_the_index_says_what_lm_eval_says(name: str) -> None:
    row = INDEX[name]
    manager = Sources({}, [row.folder]).manager()
    leaves = hub_questions.leaves(manager, name)
    configs = [manager.task_index[leaf].cfg for leaf in leaves]
    assert len(leaves) == row.leaves
    assert {config["dataset_path"] for config in configs} == set(row.datasets)
    assert {config.get("num_fewshot") or 0 for config in configs} == {row.shots}
    code = "".join(
        p.read_text() for p in manager.task_index[leaves[0]].yaml_path.parent.glob("*.py")
    )
    assert ("import nltk" in code) == ("nltk" in row.needs)
    for config in configs:
        if config["output_type"] == "generate_until":
            default = HFLM.max_gen_toks.fget(None)  # type: ignore[attr-defined]
            limit = config["generation_kwargs"].get("max_gen_toks", default)
            assert (row.generated, row.passes) == (limit, 1)
            assert config["generation_kwargs"]["do_sample"] is False
        else:
            assert config["output_type"] == "multiple_choice"
            assert row.generated == 0
            choices = config["doc_to_choice"]
            single = isinstance(choices, list) and all(len(choice) == 1 for choice in choices)
            assert single == (row.passes == 1)


def test_lm_eval_in_full_finds_a_group_where_the_index_says_it_is() -> None:
    folder = Path(Sources({}, ["mmlu/default"]).manager().task_index["mmlu"].yaml_path).parent
    assert folder.parts[-2:] == ("mmlu", "default")
    assert [f"mmlu_{s}" for s in hub_fixtures.subjects()] == hub_questions.leaves(
        Sources({}, ["mmlu/default"]).manager(), "mmlu"
    )


# --- what a study may say ---------------------------------------------------------------------


def test_the_flags_and_inputs_of_a_study() -> None:
    config = asking({"arc_easy": 0, "arc_challenge": 5, "mmlu": 20, "ifeval": 3})
    config["datasets"]["cais/mmlu"] = {"revision": "f" * 40, "files": ["*/test-*", "*/dev-*"]}
    built = build(config)
    flags = built.measure_flags()
    assert [f for f in flags if f.startswith("--hub-tasks")] == [
        "--hub-tasks=arc_easy:0", "--hub-tasks=arc_challenge:5", "--hub-tasks=mmlu:20",
        "--hub-tasks=ifeval:3",
    ]  # fmt: skip
    folders = {
        "allenai/ai2_arc": f"assets/hub/datasets/allenai/ai2_arc/{REVISION}",
        "cais/mmlu": f"assets/hub/datasets/cais/mmlu/{'f' * 40}",
        "google/IFEval": f"assets/hub/datasets/google/IFEval/{REVISION}",
    }
    assert [f for f in flags if f.startswith("--dataset")] == [
        f"--dataset={name}={folder}" for name, folder in folders.items()
    ]
    assert "--nltk=assets/nltk" in flags
    read = built.measured_files()
    assert {f"{folder}/asset.json" for folder in folders.values()} < set(read)
    assert set(hub_tasks.PUNKT) < set(read)
    assert built.hub_flags(folders["cais/mmlu"]) == [
        "--files=*/dev-*", "--files=*/test-*", "--files=README.md",
    ]  # fmt: skip
    assert built.hub_flags(folders["google/IFEval"]) == []  # all files


def test_examples_before_a_question_are_the_studys_where_it_names_them() -> None:
    config = asking({"mmlu_stem": 100, "arc_easy": 0, "gsm8k": 1})
    config["evaluations"]["hub_shots"] = {"mmlu_stem": 5, "gsm8k": 2}
    flags = build(config).measure_flags()
    assert [f for f in flags if "shots" in f] == ["--hub-shots=mmlu_stem:5", "--hub-shots=gsm8k:2"]
    assumed = demands.Assumed(conversation=0, question=64, text=1, questions=1000)
    found = {t.name: t.length for t in evaluations.tasks(build(config), assumed, ROOT)}
    assert found["mmlu_stem"] == 6 * INDEX["mmlu_stem"].tokens
    assert found["gsm8k"] == INDEX["gsm8k"].tokens // 2  # two examples and the question, of six
    assert found["arc_easy"] == INDEX["arc_easy"].tokens


def test_a_study_without_hub_tasks_reads_nothing_more() -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    built = build(config)
    assert not [f for f in built.measure_flags() if "hub" in f or "nltk" in f or "dataset" in f]
    assert not [f for f in built.measured_files() if "hub" in f or "nltk" in f]


def put(config: dict[str, Any], value: Any, *keys: str) -> dict[str, Any]:
    made = copy.deepcopy(config)
    place = made
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return made


def without(config: dict[str, Any], section: str, key: str) -> dict[str, Any]:
    made = copy.deepcopy(config)
    del made[section][key]
    return made


def of_the_hub_alone(tasks: dict[str, int]) -> dict[str, Any]:
    """The study of the paper, which has no packages, with these tasks."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "studies/qwen2.5-3b.yaml").read_text())
    config["evaluations"] |= {"hub_tasks": tasks, "nltk": dict(NLTK)}
    config["datasets"] = dict.fromkeys(hub_fixtures.SNAPSHOTS, REVISION)
    config.pop("packages", None)
    return config


ALL = dict.fromkeys(INDEX, 1)
FAULTS = [
    (asking({"gsm8k": 1}, "openai/gsm8k"), ["gsm8k reads the dataset openai/gsm8k", "`datasets`"]),
    (asking({"arc_esay": 1}), ["evaluations.hub_tasks", "'arc_esay'", "tasks/hub/index.yaml"]),
    (asking({"arc_easy": -1}), ["evaluations.hub_tasks.arc_easy", "-1", "at least 0"]),
    (put(asking(ALL), "main", "datasets", "cais/mmlu"), ["datasets.cais/mmlu", "'main'", "40"]),
    (put(asking(ALL), REVISION, "datasets", "mmlu"), ["datasets", "'mmlu'"]),
    (
        put(asking(ALL), {"files": ["x"]}, "datasets", "cais/mmlu"),
        ["datasets.cais/mmlu", "revision"],
    ),
    (
        put(asking(ALL), {"openbookqa": 1}, "evaluations", "tasks"),
        ["'openbookqa'", "evaluations.tasks"],
    ),
    (without(asking(ALL), "evaluations", "nltk"), ["ifeval needs NLTK", "evaluations.nltk"]),
    (
        without(asking(ALL), "packages", "llama-index-core"),
        ["evaluations.nltk.package", "`packages`"],
    ),
    (
        put(asking({"piqa": 1}), {"mmlu": 5}, "evaluations", "hub_shots"),
        ["evaluations.hub_shots", "'mmlu' is not asked"],
    ),
    (of_the_hub_alone(ALL), ["evaluations.nltk.package", "'llama-index-core'", "define it"]),
]


@pytest.mark.parametrize(("config", "says"), FAULTS, ids=[says[0] for _, says in FAULTS])
def test_a_study_that_cannot_run_is_told_so_in_one_sentence(
    config: dict[str, Any], says: list[str]
) -> None:
    with pytest.raises(HarnessError) as fault:
        build(config)
    assert str(fault.value).startswith("s.yaml: ")
    assert "\n" not in str(fault.value)
    for part in says:
        assert part in str(fault.value)


def test_the_plan_counts_questions_passes_and_lengths() -> None:
    asked = {"arc_easy": 0, "mmlu": 20, "hellaswag": 100, "gsm8k": 10}
    assumed = demands.Assumed(conversation=0, question=64, text=1, questions=1000)
    found = {t.name: t for t in evaluations.tasks(build(asking(asked)), assumed, ROOT)}
    assert found.pop("contracts").length == 64
    counted = {name: (task.sequences, task.choices) for name, task in found.items()}
    assert counted == {
        "arc_easy": (2376, 4), "mmlu": (57 * 20, 1), "hellaswag": (100, 4), "gsm8k": (10, 1)
    }  # fmt: skip
    assert all(task.length == INDEX[name].tokens for name, task in found.items())
    shape = shapes.named("qwen2.5-3b")
    part = found["gsm8k"].part(shape)
    assert part.tokens == 10 * (INDEX["gsm8k"].tokens + 256)
    # two matrices of 256 channels of 36 layers, two bytes each, for eight answers
    cache = 8 * (INDEX["gsm8k"].tokens + 256) * 2 * 36 * 256 * 2
    read = memory.passing(shape, 8 * INDEX["gsm8k"].tokens, 0)
    logits = 8 * shape.vocabulary * memory.ANSWERED_LOGIT
    assert found["gsm8k"].activations(shape, 8, 2) == cache + read + logits
