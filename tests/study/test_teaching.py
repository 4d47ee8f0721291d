"""Who teaches whom: names, paths, plans, and what is refused."""

import copy
from typing import Any

import pytest
import yaml
from lab import ROOT

from compression_order.architecture import demands
from compression_order.common.errors import HarnessError
from compression_order.planning import graph, timetable, totals
from compression_order.study import parse, study

SMOKE: dict[str, Any] = yaml.safe_load((ROOT / "studies/smoke.yaml").read_text())
ASSUMED = demands.Assumed(conversation=0, question=64, text=1, questions=1)


def made(teacher: Any = "base", orderings: Any = "all-subsets", **own: str) -> study.Study:
    """The smoke study with FT, a second distillation KD.2, and other teachers.

    Args:
        teacher: the study's.
        orderings: of the study.
        own: teachers that distillations name themselves, `KD_2` for KD.2.
    """
    config = copy.deepcopy(SMOKE)
    stages = config["stages"]
    stages["FT"] = {"method": "full", "on_quantized": "requantize"}
    stages["KD.2"] = {**stages["KD"], "temperature": 4.0}
    for token, name in own.items():
        stages[token.replace("_", ".")]["teacher"] = name
    config |= {"teacher": teacher, "orderings": orderings, "seeds": [0, 1]}
    return parse.build(config, "study.yaml", ROOT)


def jobs(of: study.Study) -> list[graph.Job]:
    return graph.jobs(of, graph.architecture(of), ASSUMED, ROOT)


def test_the_study_decides_where_a_stage_says_nothing() -> None:
    its = made("FT", ["KD", "KD.2"], KD_2="base")
    assert {t: its.stages[t].settings.teacher for t in its.of_kind("distill")} == {
        "KD": "FT",
        "KD.2": "base",
    }
    assert "--teacher=FT" in its.flags("KD")
    assert its.taught == {"KD": "FT"}
    # written out it is the same study
    assert made("FT", ["KD", "KD.2"], KD="FT", KD_2="base").flags("KD") == its.flags("KD")


def test_a_model_of_its_own_may_be_named_by_a_stage() -> None:
    own = {"name": "another", "made": {"hidden": 96}}
    its = made(own, ["KD", "KD.2"], KD="another", KD_2="base")
    assert its.teacher_folder("KD", 1) == "assets/models/another"
    assert its.teacher_folder("KD.2", 1) is None
    assert its.taught == {}


def test_a_cache_lies_with_its_teacher() -> None:
    its = made("P-FT", ["KD", "KD.2"], KD_2="base")
    assert its.teacher_outputs("KD", 1) == "results/smoke/seed1/teacher/KD.safetensors"
    assert its.teacher_outputs("KD.2", 1) == "results/smoke/teacher/KD.2.safetensors"
    assert "--model=results/smoke/seed1/checkpoints/P-FT" in its.teacher_flags("KD", 1)
    assert not any(flag.startswith("--model") for flag in its.teacher_flags("KD.2", 1))
    # the same teacher on the same text: one file, whatever the temperature
    assert made("FT").cache_token("KD.2") == "KD"
    assert made("FT", KD_2="P").cache_token("KD.2") == "KD.2"


def test_temperatures_reach_the_teacher_of_a_top_k_alone() -> None:
    exact = made()
    assert not any(flag.startswith("--temperatures") for flag in exact.teacher_flags("KD", 0))
    config = copy.deepcopy(SMOKE)
    config["stages"]["KD"]["top_k"] = 8
    config["stages"]["KD.2"] = {**config["stages"]["KD"], "temperature": 4.0}
    few = parse.build(config, "study.yaml", ROOT)
    assert "--temperatures=2.0,4.0" in few.teacher_flags("KD", 0)
    assert few.cache_token("KD.2") == "KD"


def test_what_teaches_is_a_node_but_no_row() -> None:
    its = made("P-FT", ["KD-Q"])
    assert its.plan.rows == ("base", "KD", "KD-Q")
    assert set(its.plan.nodes) == {"KD", "KD-Q", "P", "P-FT"}
    # a distillation that no ordering asks for needs no teacher
    assert set(made("base", ["KD"], KD_2="P-FT").plan.nodes) == {"KD"}
    # the teacher of a teacher
    chain = made("base", ["KD.2"], KD_2="KD-P", KD="FT")
    assert set(chain.plan.nodes) == {"KD.2", "KD", "KD-P", "FT"}


def test_the_plan_counts_the_teachers_jobs_of_every_seed() -> None:
    its = made("P-FT", ["KD-Q", "KD.2"], KD_2="base")
    planned = {job.name: job for job in jobs(its)}
    names = list(planned)
    for place, job in enumerate(planned.values()):
        assert set(job.after) <= set(names[:place]), job.name
    assert planned["teacher KD"].after == ("base", "P-FT")
    assert planned["KD"].after == ("base", "teacher KD")
    assert [planned[f"teacher {t}"].copies for t in ("KD", "KD.2")] == [2, 1]
    assert "measure P-FT" not in planned
    ours = planned["KD"].demand
    assert ours.memory.teacher == planned["teacher KD"].demand.written


def top_k(k: int) -> study.Study:
    config = copy.deepcopy(SMOKE)
    config["stages"]["KD"]["top_k"] = k
    return parse.build(config, "study.yaml", ROOT)


def test_the_teachers_logits_are_one_head_product_a_token() -> None:
    exact, few = (next(job for job in jobs(top_k(k)) if job.name == "KD") for k in (0, 8))
    (trained,) = (part for part in exact.demand.parts if part.name == "training")
    assert exact.state is not None
    head = exact.state.shape.head
    passes = [next(j for j in jobs(top_k(k)) if j.name == "teacher KD").demand for k in (0, 8)]
    assert passes[1].flops - passes[0].flops == 2 * head * passes[0].tokens  # it has none
    assert exact.demand.flops - few.demand.flops == 2 * head * trained.tokens


def test_sums_count_what_teaches_once() -> None:
    its = made("P-FT", ["KD-Q", "P-KD"])
    planned = jobs(its)
    flops = {job.name: job.demand.flops for job in planned}
    costs = totals.of(its, planned, {})
    assert set(costs.added) == {"KD", "KD-Q", "P", "P-KD"}
    # P is a row and in the teacher too
    assert costs.shared.flops == flops["base"] + flops["P-FT"] + flops["teacher KD"]
    made_alone = ("base", "P", "P-FT", "teacher KD", "KD")
    assert costs.alone["KD"].flops == sum(flops[name] for name in made_alone)
    assert costs.alone["P-KD"].flops == sum(
        flops[n] for n in ("base", "P", "P-FT", "teacher KD", "P-KD")
    )
    saved = timetable.saved_by_prefixes(its, planned)
    assert saved.jobs == 2 * (1 + 2 + 1 + 2 - 4)
    assert timetable.saved_by_cache(its, planned, ASSUMED).jobs == 2 * (2 - 1)


@pytest.mark.parametrize(
    ("teacher", "own", "told"),
    [
        ("FT-X", {}, "teacher: 'FT-X' names the stage 'X', which `stages` does not define"),
        ("base", {"KD": "X"}, "stages.KD.teacher: 'X' names the stage 'X', which `stages`"),
        ("KD", {}, "teacher: KD learns from KD, which holds KD itself; name a teacher that"),
        ("base", {"KD": "P-KD"}, "stages.KD.teacher: KD learns from P-KD, which holds KD itself"),
        (
            "base",
            {"KD": "P-KD.2", "KD_2": "KD-Q"},
            "stages.KD.teacher: KD learns from P-KD.2, which learns from KD-Q, which holds KD",
        ),
        (None, {"KD": "base"}, "teacher: stages.KD.2 distills and the study names no teacher"),
    ],
)
def test_a_teacher_that_cannot_be_is_one_sentence(
    teacher: Any, own: dict[str, str], told: str
) -> None:
    with pytest.raises(HarnessError) as fault:
        made(teacher, **own)
    assert str(fault.value).startswith(f"study.yaml: {told}")
    assert "\n" not in str(fault.value)


def test_a_teacher_that_refuses_its_parent_is_refused() -> None:
    config = copy.deepcopy(SMOKE)
    config["stages"]["FT"] = {"method": "full", "on_quantized": "refuse"}
    config["teacher"] = "Q-FT"
    told = r"teacher: 'Q-FT' cannot exist \(FT refuses the quantized parent Q\); name another"
    with pytest.raises(HarnessError, match=told):
        parse.build(config, "study.yaml", ROOT)


def test_a_teacher_of_redrawn_conversations_is_planned_once_a_seed() -> None:
    """Each seed has other conversations, so the base teaches on each of them."""
    read = yaml.safe_load((ROOT / "studies/smoke.yaml").read_text())
    read |= {"seeds": [0, 1, 2], "splits": {**read["splits"], "draw": "per-seed"}}
    made = parse.build(read, "smoke.yaml", ROOT)
    shape = graph.architecture(made)
    (teaches,) = [j for j in graph.jobs(made, shape, demands.Assumed(), ROOT) if j.kind == "teach"]
    assert (teaches.copies, teaches.each_seed) == (3, True)
    assert made.teacher_outputs("KD", 2) == "results/smoke/seed2/teacher/KD.safetensors"
