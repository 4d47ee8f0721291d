"""The brain of the DAG: pipelines, prefixes, refusals, and the published order of rows."""

import re
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compression_order import orderings
from compression_order.common.errors import HarnessError
from compression_order.orderings import Stage


def stages(**on_quantized: str) -> dict[str, Stage]:
    """P, KD and Q; `requantize` unless said otherwise."""
    kinds = {"P": "prune", "KD": "distill", "Q": "quantize"}
    return {
        token: Stage(token, kind, "m", on_quantized.get(token, "requantize"))
        for token, kind in kinds.items()
    }


TOKENS = st.lists(st.sampled_from(["P", "KD", "Q"]), min_size=1, max_size=6)


def test_all_subsets_are_15_pipelines_in_study_order():
    assert orderings.all_subsets(["P", "KD", "Q"]) == [
        *("P", "KD", "Q"),
        *("P-KD", "P-Q", "KD-P", "KD-Q", "Q-P", "Q-KD"),
        *("P-KD-Q", "P-Q-KD", "KD-P-Q", "KD-Q-P", "Q-P-KD", "Q-KD-P"),
    ]


def test_all_subsets_need_exactly_15_stage_jobs_not_33():
    plan = orderings.plan("all-subsets", stages())
    assert len(plan.nodes) == len(set(plan.nodes)) == 15
    assert plan.rows == ("base", *orderings.all_subsets(["P", "KD", "Q"]))
    assert set(plan.nodes) == set(plan.rows) - {"base"}
    assert sum(len(orderings.split(row)) for row in plan.rows) == 33
    assert not plan.refused


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_all_subsets_of_any_stages(count):
    tokens = list("ABCD")[:count]
    found = orderings.all_subsets(tokens)
    wanted = {"-".join(p) for n in range(1, count + 1) for p in permutations(tokens, n)}
    assert len(found) == len(wanted)
    assert set(found) == wanted


def test_a_pipeline_its_parent_its_last_stage_and_its_prefixes():
    assert orderings.split("base") == ()
    assert orderings.join(()) == "base"
    assert orderings.parent("P") == "base"
    assert orderings.parent("P-KD-Q") == "P-KD"
    assert orderings.last("P-KD-Q") == "Q"
    assert orderings.prefixes("P-KD-Q") == ["P", "P-KD", "P-KD-Q"]
    assert orderings.prefixes("base") == []


@given(TOKENS)
def test_split_and_join_are_inverse(tokens):
    assert list(orderings.split(orderings.join(tokens))) == tokens


@given(st.lists(TOKENS.map("-".join), min_size=1, max_size=6))
def test_every_parent_is_a_node_before_its_child(wanted):
    plan = orderings.plan(wanted, stages())
    assert len(plan.nodes) == len(set(plan.nodes))
    every = [prefix for pipeline in wanted for prefix in orderings.prefixes(pipeline)]
    assert plan.rows == ("base", *dict.fromkeys(every))
    for place, node in enumerate(plan.nodes):
        assert orderings.parent(node) in ("base", *plan.nodes[:place])
    for row in plan.rows[1:]:
        assert row in plan.nodes


def test_one_ordering_more_plans_only_its_new_nodes():
    before = orderings.plan(["P-KD-Q"], stages())
    after = orderings.plan(["P-KD-Q", "P-Q-KD", "Q-P-Q"], stages())
    assert set(after.nodes) - set(before.nodes) == {"P-Q", "P-Q-KD", "Q", "Q-P", "Q-P-Q"}


def test_base_is_the_first_row_whether_asked_for_or_not():
    assert orderings.plan(["P", "base", "P"], stages()).rows == ("base", "P")


@pytest.mark.parametrize("ordering", ["P-X", "X", "P-", "-P", "", "P--Q", "p", "P Q", "P-base"])
def test_an_unknown_stage_is_named_with_what_is_known(ordering):
    with pytest.raises(HarnessError, match="does not define") as fault:
        orderings.plan([ordering], stages())
    for word in ("orderings", repr(ordering), "P, KD, Q"):
        assert word in str(fault.value)


def test_refuse_reaches_everything_behind_it():
    plan = orderings.plan("all-subsets", stages(KD="refuse"))
    assert set(plan.refused) == {"Q-KD", "Q-KD-P", "Q-P-KD", "P-Q-KD"}
    assert all("KD refuses the quantized parent" in why for why in plan.refused.values())
    assert plan.refused["Q-KD-P"].endswith("Q")
    assert plan.refused["Q-P-KD"].endswith("Q-P")
    assert set(plan.refused) <= set(plan.rows)
    assert not set(plan.refused) & set(plan.nodes)


def test_a_dequantizing_stage_frees_what_follows_it():
    its = stages(P="dequantize", KD="refuse")
    plan = orderings.plan("all-subsets", its)
    assert set(plan.refused) == {"Q-KD", "Q-KD-P", "P-Q-KD"}
    assert "Q-P-KD" in plan.nodes


@pytest.mark.parametrize(
    ("pipeline", "quantized"),
    [("base", False), ("P", False), ("Q", True), ("Q-P", True), ("Q-KD", False), ("Q-KD-Q", True)],
)
def test_what_is_stored_quantized(pipeline, quantized):
    assert orderings.is_quantized(pipeline, stages(KD="dequantize")) is quantized


@pytest.mark.parametrize(
    ("pipeline", "q_before_p", "q_before_kd"),
    [
        ("base", None, None),
        ("Q", None, None),
        ("P-KD", None, None),
        ("Q-P", True, None),
        ("P-Q", False, None),
        ("KD-Q-P", True, False),
        ("Q-KD-P", True, True),
        ("P-Q-KD", False, True),
        ("P-Q-P", False, None),
    ],
)
def test_the_two_predicates(pipeline, q_before_p, q_before_kd):
    assert orderings.before(pipeline, "Q", "P") is q_before_p
    assert orderings.before(pipeline, "Q", "KD") is q_before_kd


@pytest.mark.parametrize("token", ["P", "KD", "Q"])
def test_the_expression_matches_the_pipelines_that_end_in_a_token(token):
    expression = re.compile(orderings.ending_in([token]))
    for pipeline in orderings.all_subsets(["P", "KD", "Q"]):
        assert bool(expression.fullmatch(pipeline)) is (pipeline.split("-")[-1] == token)
    assert not expression.fullmatch("base")
    assert not expression.fullmatch(f"X{token}")


def test_without_tokens_nothing_matches():
    assert not re.fullmatch(orderings.ending_in([]), "")
    assert not re.fullmatch(orderings.ending_in([]), "P")
