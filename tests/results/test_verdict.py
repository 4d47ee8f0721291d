"""The verdict: its statistics on data of known answer, its claims, and its command."""

import csv
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from lab import ROOT
from results_tree import ALL, FIGURES, add_row, answers, ask, edit, make, process, write

from compression_order import orderings
from compression_order.architecture import shapes, storage
from compression_order.common.errors import HarnessError
from compression_order.results import claims, published, reproduction, verdict, verdict_page
from compression_order.statistics import paired

ARXIV = "arxiv-2511.19495"
STAGE = orderings.Stage("", "prune", "a-method", "requantize")
TEN = {f.pipeline: f for f in published.figures(FIGURES, ARXIV) if f.metric == "perplexity"}
# log perplexity over base: as published where it is, else something between
PAIRS = {"P-KD": 0.35, "P-Q": 0.45, "KD-P": 0.40, "KD-Q": 0.1, "Q-P": 1.5, "Q-KD": 0.12}
AS_PUBLISHED = {
    p: math.log(TEN[p].value / TEN["base"].value) if p in TEN else PAIRS[p] for p in ALL
}


# --- statistics ------------------------------------------------------------------------------


def counted_tau(x: Sequence[float], y: Sequence[float]) -> float:
    """tau-b by counting pairs, as it is defined."""
    signs = [
        (np.sign(a[0] - b[0]), np.sign(a[1] - b[1]))
        for a, b in itertools.combinations(zip(x, y, strict=True), 2)
    ]
    agreement = sum(a * b for a, b in signs)
    return agreement / math.sqrt(sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs))


def tau_of(values: np.ndarray, reference: Sequence[float], draws: np.ndarray) -> paired.Tau:
    names = [str(n) for n in range(len(values))]
    return paired.tau(
        dict(zip(names, values, strict=True)), dict(zip(names, draws, strict=True)), 50,
        dict(zip(names, reference, strict=True)),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_tau_is_that_of_counted_pairs_with_ties_too(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = rng.integers(0, 5, 10), rng.integers(0, 5, 10)
    draws = rng.integers(0, 5, (10, 200))
    found = tau_of(ours, theirs, draws)
    assert found.value == pytest.approx(counted_tau(ours, theirs), abs=1e-12)
    each = [counted_tau(draw, theirs) for draw in draws.T]
    assert found[1:3] == pytest.approx(paired.expanded_interval(each, 50), abs=1e-12)


def test_tau_of_orders_that_are_known() -> None:
    up = np.arange(6.0)
    apart = np.repeat(up[:, None], 100, axis=1)
    assert tau_of(up, up, apart)[:3] == pytest.approx((1, 1, 1))
    assert tau_of(up, -up, apart)[:3] == pytest.approx((-1, -1, -1))
    assert tau_of(up, up, apart).p == pytest.approx(2 / math.factorial(6))  # exact
    swapped = up[[1, 0, 2, 3, 4, 5]]
    assert tau_of(up, swapped, apart).value == pytest.approx(1 - 2 * 1 / 15)
    assert all(map(math.isnan, tau_of(np.ones(6), up, np.ones((6, 9)))))
    tied = np.where(np.arange(100) < 50, 1.0, apart)  # a draw that ties all agrees with nothing
    assert tau_of(up, up, tied)[1:3] == pytest.approx((0, 1))


def drawn(rng: np.random.Generator, means: np.ndarray, units: int, noise: float) -> np.ndarray:
    """Losses [rows, units]: a common part a unit, and what is left when rows are paired."""
    return means[:, None] + rng.normal(0, 1, units) + rng.normal(0, noise, (len(means), units))


@pytest.mark.parametrize("units", [8, 40])
def test_an_interval_holds_a_known_gap_as_often_as_it_says(units: int) -> None:
    rng, held = np.random.default_rng(1), 0
    for trial in range(400):
        losses = drawn(rng, np.array([0.0, 0.1]), units, 0.4)
        draws = paired.bootstrap_means(losses, np.ones(units), 1000, trial)
        low, high = paired.expanded_interval(draws[1] - draws[0], units)
        held += low <= 0.1 <= high
    assert 0.92 <= held / 400 <= 0.98  # 95% of 400 is 380 +- 4.4


@pytest.mark.slow
@pytest.mark.parametrize("units", [8, 40])
def test_an_interval_holds_a_known_tau_as_often_as_it_says(units: int) -> None:
    rng, held = np.random.default_rng(1), 0
    means = np.linspace(0, 1, 10)
    theirs = dict(zip("abcdefghij", rng.permutation(means), strict=True))
    truth = counted_tau(means, list(theirs.values()))
    for trial in range(150):
        losses = drawn(rng, means, units, 0.4)
        draws = paired.bootstrap_means(losses, np.ones(units), 400, trial)
        ours = dict(zip(theirs, losses.mean(axis=1), strict=True))
        found = paired.tau(ours, dict(zip(theirs, draws, strict=True)), units, theirs)
        held += found.low <= truth <= found.high
    assert held / 150 >= 0.91  # 95% is 142 +- 2.7; a ranking is discrete and may be held more


def test_few_units_widen_an_interval() -> None:
    draws = np.random.default_rng(0).normal(size=100_000)
    plain = np.quantile(draws, [0.025, 0.975])
    assert paired.expanded_interval(draws, 10_000) == pytest.approx(plain, abs=0.01)
    # t with 7 degrees of freedom is 2.365 at 95%; times sqrt(8 / 7)
    assert paired.expanded_interval(draws, 8)[1] == pytest.approx(2.528, abs=0.05)
    assert all(map(math.isnan, paired.expanded_interval(draws, 1)))


# --- the registry ----------------------------------------------------------------------------


def test_every_published_study_has_its_claims() -> None:
    with FIGURES.open(newline="") as stream:
        assert {line["study"] for line in csv.DictReader(stream)} == set(claims.REGISTRY)
    with pytest.raises(HarnessError, match="no claims of 'another' are written down"):
        claims.of("another")


@pytest.mark.parametrize("study", claims.REGISTRY)
def test_every_claim_is_what_the_published_figures_say(study: str) -> None:
    its = claims.of(study)
    figures = published.figures(FIGURES, study)
    cells = [(f.pipeline, f.model, f.metric) for f in figures]
    assert len(set(cells)) == len(cells)
    assert len({c.name for c in its.claims}) == len(its.claims)
    for claim in its.claims:
        (measure,) = [m for m in its.measures if m.name == claim.measure]
        theirs = {p: f.value for p, f in reproduction.printed(measure, figures).items()}
        assert verdict.gap(claim.ascending, theirs).value > 0, claim.name
        if claim.rival:
            assert verdict.gap(claim.rival, theirs).value < 0, claim.name


def test_the_groups_of_the_ordering_study() -> None:
    its = {claim.name: claim for claim in claims.of(ARXIV).claims}
    late, early = its["early-q-collapses"].ascending
    assert set(early) == {"Q-P-KD", "Q-KD-P", "KD-Q-P"}
    assert set(late) == {"P-KD-Q", "KD-P-Q", "P-Q-KD"}
    gap = verdict.gap((late, early), {p: f.value for p, f in TEN.items()})
    assert gap[1:] == ("P-Q-KD", "Q-KD-P")
    assert TEN["Q-KD-P"].value / TEN["P-Q-KD"].value == pytest.approx(4.298, abs=5e-4)


def test_left_out_figures_are_counted_and_not_handed_out() -> None:
    assert published.left_out(FIGURES, ARXIV) == []
    counts = published.left_out(FIGURES, "llm-compression")
    assert sum(count for count, _, trust, _ in counts if trust == "extrapolated") == 6 * 17
    assert (3, "perplexity_c4", "no-op") in [line[:3] for line in counts]
    usable = {f.pipeline for f in published.figures(FIGURES, "llm-compression")}
    assert "SG50" in usable
    assert not {"SG50-Q", "SG50-SG50"} & usable


# --- one arm ---------------------------------------------------------------------------------


def config(**changes: Any) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "studies/smoke.yaml").read_text())
    return {**read, "study": "test", "model": model("tiny"), **changes}


def model(name: str) -> dict[str, str]:
    """A packaged model; nothing is fetched here."""
    return {"name": name, "package": "llamafactory", "member": "a-member"}


def tree(
    root: Path, damage: Mapping[str, float], noise: float = 0.06, seeds: Sequence[int] = (0,)
) -> Path:
    """A results folder with its table, of pipelines that lose as many nats as `damage` says."""
    for seed in seeds:
        for pipeline, more in damage.items():
            add_row(root, pipeline, seed, more, noise)
    table(root, list(damage), seeds)
    return root


def table(root: Path, rows: Sequence[str], seeds: Sequence[int] = (0,), *more: object) -> None:
    done = make(root, rows, *more, seeds=seeds)
    assert done.returncode == 0, done.stderr


def judged(root: Path, *flags: object, **changes: Any) -> Any:
    (root / "study.yaml").write_text(yaml.safe_dump(config(**changes), sort_keys=False))
    return ask("verdict", "--study", root / "study.yaml", "--results", root, *flags)


def found(root: Path, *flags: object, **changes: Any) -> dict[str, dict[str, str]]:
    done = judged(root, *flags, **changes)
    assert done.returncode == 0, done.stderr
    return stored(root)


def stored(root: Path) -> dict[str, dict[str, str]]:
    """Claim -> its line of verdict.csv, of a study with one arm."""
    with (root / "verdict.csv").open(newline="") as stream:
        return {line["claim"]: line for line in csv.DictReader(stream)}


def test_a_study_that_does_as_published(tmp_path: Path) -> None:
    lines = found(tree(tmp_path, AS_PUBLISHED))
    for name in (
        "kd-below-base", "q-costs-less-than-p", "early-q-worst", "early-q-collapses",
        "training-after-q", "ranking-perplexity",
    ):  # fmt: skip
        assert lines[name]["verdict"] == "reproduced", lines[name]
    collapse = lines["early-q-collapses"]
    assert float(collapse["low"]) < 4.298 < float(collapse["high"])
    assert collapse["published"] == "4.2982"
    assert "(Q-KD-P 24.07 / P-Q-KD 5.60)" in collapse["evidence"]
    assert "published 0.105 (P-Q-KD 5.60 / KD-Q-P 53.37)" in lines["training-after-q"]["evidence"]
    assert lines["pkdq-beats-p"]["verdict"] == "inconclusive"  # 0.8% under a noise of 6%
    assert "inconclusive (not separable at 95%)" in lines["pkdq-beats-p"]["evidence"]
    assert {lines[n]["verdict"] for n in lines if n.startswith(("size", "compression"))} == {
        "not testable here"
    }
    assert (
        "the figures are of Qwen2.5-3B, this study compresses tiny"
        in lines["size-5.90"]["evidence"]
    )


def test_a_published_difference_needs_a_sample_that_can_tell(tmp_path: Path) -> None:
    lines = found(tree(tmp_path, AS_PUBLISHED, noise=0.001))
    assert lines["pkdq-beats-p"]["verdict"] == "reproduced"
    assert lines["pkdq-best-order"]["verdict"] == "reproduced"
    assert float(lines["ranking-perplexity"]["ours"]) == 1


def test_the_other_way_round_and_no_collapse(tmp_path: Path) -> None:
    damage = {p: 0.1 * more for p, more in AS_PUBLISHED.items()} | {"KD": 0.2}
    lines = found(tree(tmp_path, damage, noise=0.005))
    assert "(the other way round)" in lines["kd-below-base"]["evidence"]
    assert lines["early-q-worst"]["verdict"] == "reproduced"
    collapse = lines["early-q-collapses"]
    assert collapse["verdict"] == "not reproduced"
    assert "no collapse, which begins at 2.07" in collapse["evidence"]


def test_a_small_study_refutes_nothing(tmp_path: Path) -> None:
    """Eight documents with much noise: what cannot be told is inconclusive."""
    lines = found(tree(tmp_path, AS_PUBLISHED, noise=6.0))
    told = [line["verdict"] for line in lines.values() if line["about"] != "size"]
    assert "not reproduced" not in told
    assert told.count("inconclusive") > 3


def test_a_claimed_difference_that_is_shown_to_be_none_is_not_reproduced(tmp_path: Path) -> None:
    damage = {**AS_PUBLISHED, "KD": 0.001}  # published: 0.85 of base
    line = found(tree(tmp_path, damage, noise=0.01))["kd-below-base"]
    assert line["verdict"] == "not reproduced"
    assert "equal within 1.05" in line["evidence"] or "the other way" in line["evidence"]
    near = found(tree(tmp_path / "near", AS_PUBLISHED, noise=0.004))["pkdq-beats-p"]
    assert float(near["published"]) < 1.05  # a claim of so little is not refuted by the bound
    assert "equal within" not in near["evidence"]


def test_claims_are_corrected_together() -> None:
    """A p of 0.03 alone reproduces a claim; beside nine others it is open."""

    def tested(p: float) -> verdict.Tested:
        found = verdict.Finding("a", "relation", "b", "c", verdict.REPRODUCED, "d")
        return verdict.Tested(found, p)

    assert [f.verdict for f in verdict.settled([tested(0.03)])] == ["reproduced"]
    several = verdict.settled([tested(0.03), *[tested(0.5)] * 9])
    assert several[0].verdict == "inconclusive"
    strong = verdict.settled([tested(0.001), *[tested(0.5)] * 9])
    assert strong[0].verdict == "reproduced"


def test_a_gap_is_as_uncertain_as_its_pair(tmp_path: Path) -> None:
    """With one pair in question the interval is near that of the paired standard error."""
    line = found(tree(tmp_path, AS_PUBLISHED))["kd-below-base"]
    losses = [
        json.loads((tmp_path / f"seed0/evaluations/{p}/perplexity.json").read_text())["chat"]
        for p in ("base", "KD")
    ]
    estimate = paired.log_ratio(losses[0]["losses"], losses[1]["losses"], np.ones(60))
    assert math.log(float(line["ours"])) == pytest.approx(estimate.value, abs=1e-4)
    half = (math.log(float(line["high"])) - math.log(float(line["low"]))) / 2
    assert half == pytest.approx(2.0 * estimate.se, rel=0.15)


def test_a_claim_holds_in_every_seed_or_not(tmp_path: Path) -> None:
    tree(tmp_path, AS_PUBLISHED, seeds=(0, 1, 2))
    assert found(tmp_path, seeds=[0, 1, 2])["kd-below-base"]["verdict"] == "reproduced"
    add_row(tmp_path, "KD", 2, 0.05, 0.02)
    table(tmp_path, ALL, (0, 1, 2))
    line = found(tmp_path, seeds=[0, 1, 2])["kd-below-base"]
    assert line["verdict"] == "inconclusive", line["evidence"]


def test_what_is_not_finite_or_copied_or_absent_is_not_compared(tmp_path: Path) -> None:
    tree(tmp_path, AS_PUBLISHED)
    nan = [float("nan")] * 60
    edit(
        tmp_path / "seed0/evaluations/KD-Q-P/perplexity.json", "chat",
        losses=nan, perplexity=float("nan"),
    )  # fmt: skip
    for name in ("perplexity.json", "lm_eval.json"):
        copied = json.loads((tmp_path / f"seed0/evaluations/base/{name}").read_text())
        write(tmp_path / f"seed0/evaluations/KD/{name}", copied)
    table(tmp_path, ALL)
    lines = found(tmp_path)
    assert lines["early-q-worst"]["verdict"] == "not testable here"
    assert "KD-Q-P (its perplexity is not finite)" in lines["early-q-worst"]["evidence"]
    assert (
        "KD (every perplexity is 1.000000 times that of base)" in lines["kd-below-base"]["evidence"]
    )
    assert "over 8 pipelines" in lines["ranking-perplexity"]["evidence"]
    small = tree(tmp_path / "small", {p: AS_PUBLISHED[p] for p in ("base", "P", "KD", "P-KD")})
    lines = found(small, orderings=["P", "KD", "P-KD"])
    assert "it needs Q (not in this study)" in lines["q-costs-less-than-p"]["evidence"]
    assert "3 pipelines have both" in lines["ranking-perplexity"]["evidence"]
    assert lines["kd-below-base"]["verdict"] == "reproduced"


def test_a_figure_that_cannot_be_trusted_is_never_compared(tmp_path: Path) -> None:
    tree(tmp_path, AS_PUBLISHED)
    text = FIGURES.read_text()
    line = next(n for n in text.splitlines() if n.startswith(f"{ARXIV},KD,") and "3.23" in n)
    for trust in sorted(published.UNUSABLE):
        figures = tmp_path / "published.csv"
        figures.write_text(
            text.replace(line, line.replace("3.23", "3.99").replace("reported", trust))
        )
        done = judged(tmp_path, "--published-csv", figures)
        assert done.returncode == 0, done.stderr
        lines = stored(tmp_path)
        assert lines["kd-below-base"]["verdict"] == "not testable here"
        assert lines["kd-below-base"]["evidence"] == "no usable published figure of KD"
        assert "over 9 pipelines" in lines["ranking-perplexity"]["evidence"]
        for said in (done.stdout, *((tmp_path / f"verdict.{end}").read_text() for end in
                                    ("csv", "md"))):  # fmt: skip
            assert "3.99" not in said
        assert f"1 of perplexity, {trust} (UltraChat" in " ".join(done.stdout.split())


# --- sizes -----------------------------------------------------------------------------------


def qwen(root: Path, **sizes: int) -> Path:
    """A tree with the bytes and parameters of Qwen2.5-3B, by the formulas."""
    whole = shapes.named("qwen2.5-3b")
    pruned = whole.with_ffn([storage.kept_width(b.ffn, 0.3, 1) for b in whole.blocks])
    for pipeline in ALL:
        tokens = orderings.split(pipeline)
        shape = pruned if "P" in tokens else whole
        stored = storage.nf4_bytes(shape, True) if "Q" in tokens else storage.dense_bytes(shape)
        stored = sizes.get(pipeline, stored)
        add_row(root, pipeline, 0, AS_PUBLISHED[pipeline], 0.02)
        edit(root / f"seed0/evaluations/{pipeline}/size.json", bytes=stored,
             parameters=shape.parameters)  # fmt: skip
        if pipeline != "base":
            edit(root / f"seed0/checkpoints/{pipeline}/checkpoint.json", "bytes", model=stored)
    table(root, ALL)
    return root


def test_sizes_and_ratios_to_the_printed_digit(tmp_path: Path) -> None:
    lines = found(qwen(tmp_path), model=model("qwen2.5-3b"))
    exact = {n: line for n, line in lines.items() if line["about"] == "size"}
    assert set(exact) == {
        *(f"size-{n}" for n in ("5.90", "4.49", "1.96", "1.60")),
        *(f"compression-ratio-{n}" for n in ("1.0", "1.31", "3.00", "3.68")),
    }
    unlike = {n for n, line in exact.items() if line["verdict"] != "reproduced"}
    # 5886.0 MiB is 5.89 in two decimals: the 5.90 is 5.9 with a zero
    assert unlike == {"size-5.90"}
    assert exact["size-5.90"]["verdict"] == "not reproduced"
    assert "base 5.8860, KD 5.8860; printed 5.90 MiB/1000" in exact["size-5.90"]["evidence"]
    assert "the last 0 may be padding" in exact["size-5.90"]["evidence"]
    assert exact["compression-ratio-3.68"]["rows"].split() == [
        f.pipeline for f in published.figures(FIGURES, ARXIV) if f.printed == "3.68"
    ]
    larger = qwen(tmp_path / "larger", P=4_720_000_000)
    assert found(larger, model=model("qwen2.5-3b"))["size-4.49"]["verdict"] == "not reproduced"


def test_a_small_model_under_a_great_name_is_another(tmp_path: Path) -> None:
    made = yaml.safe_load((ROOT / "studies/smoke.yaml").read_text())["model"]["made"]
    tree(tmp_path, AS_PUBLISHED)
    edit(tmp_path / "seed0/evaluations/base/size.json", parameters=155_968)
    table(tmp_path, ALL)
    lines = found(tmp_path, model={"name": "qwen2.5-3b", "made": made})
    assert lines["size-5.90"]["evidence"] == (
        "Qwen2.5-3B has 3,085,938,688 parameters, the base of this study 155,968"
    )


def test_one_size_for_all_orders_with_any_model(tmp_path: Path) -> None:
    tree(tmp_path, AS_PUBLISHED)
    assert found(tmp_path)["one-size"]["verdict"] == "reproduced"
    edit(tmp_path / "seed0/evaluations/Q-P-KD/size.json", bytes=300 * 2**20)
    edit(tmp_path / "seed0/checkpoints/Q-P-KD/checkpoint.json", "bytes", model=300 * 2**20)
    table(tmp_path, ALL)
    assert found(tmp_path)["one-size"]["verdict"] == "not reproduced"


# --- quality ---------------------------------------------------------------------------------


def answered(root: Path, right: Mapping[str, int], task: str = "quiz") -> None:
    """Give every pipeline so many right answers of 400, the same easy ones first."""
    for pipeline, count in right.items():
        path = root / f"seed0/evaluations/{pipeline}/lm_eval.json"
        write(path, json.loads(path.read_text()) | {task: answers(count, 400)})
    table(root, ALL)


GOOD = {p: 330 - 10 * ALL.index(p) for p in ALL} | {"Q-P-KD": 110, "Q-KD-P": 120, "KD-Q-P": 130}


def test_quality_is_ranked_by_question_sets_that_can_tell(tmp_path: Path) -> None:
    tree(tmp_path, AS_PUBLISHED)
    answered(tmp_path, GOOD)
    answered(tmp_path, dict.fromkeys(ALL, 105), "coin")  # chance is 0.25
    one_answer = tmp_path / "seed0/evaluations/Q/lm_eval.json"
    answered(tmp_path, dict.fromkeys(ALL, 200), "stuck")
    edit(one_answer, "stuck", choice=[1] * 400)
    table(tmp_path, ALL)
    lines = found(tmp_path)
    assert lines["early-q-quality"]["verdict"] == "reproduced"
    assert lines["pkdq-best-quality"]["verdict"] == "reproduced"
    assert "mean accuracy over quiz (400 questions)" in lines["early-q-quality"]["method"]
    page = (tmp_path / "verdict.md").read_text()
    assert "coin: base, 0.263, is not above chance, 0.250, at 95%" in page
    assert "stuck: degenerate answers of Q" in page
    theirs = {f.pipeline: f.value for f in published.figures(FIGURES, ARXIV)
              if f.metric == "g_eval"}  # fmt: skip
    expected = counted_tau([GOOD[p] for p in theirs], list(theirs.values()))
    assert float(lines["ranking-quality"]["ours"]) == pytest.approx(expected, abs=1e-4)


def test_no_question_set_no_quality(tmp_path: Path) -> None:
    tree(tmp_path, AS_PUBLISHED)
    answered(tmp_path, dict.fromkeys(ALL, 105))
    lines = found(tmp_path)
    for name in ("pkdq-best-quality", "early-q-quality", "ranking-quality"):
        assert lines[name]["verdict"] == "not testable here"
        assert "quiz: base, 0.263, is not above chance" in lines[name]["evidence"]


def test_judged_scores_are_preferred_and_have_no_interval(tmp_path: Path) -> None:
    tree(tmp_path, AS_PUBLISHED)
    path = tmp_path / "table.csv"
    with path.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*lines[0], "g_eval"], lineterminator="\n")
        writer.writeheader()
        for line in lines:
            writer.writerow({**line, "g_eval": f"{1 - AS_PUBLISHED[line['pipeline']] / 5:.3f}"})
    got = found(tmp_path)["early-q-quality"]
    assert got["verdict"] == "not testable here"
    assert "table.csv has g_eval but not the scores of single answers" in got["evidence"]
    assert "(no interval) above" in got["evidence"]
    assert (got["low"], got["published"]) == ("n/a", "0.4640")  # 0.610 - 0.146
    path.write_text(path.read_text().replace(",1.000\n", ",good\n"))
    assert "table.csv: g_eval of base is 'good', not a number" in refused(tmp_path)


# --- arms ------------------------------------------------------------------------------------


def test_variants_stand_for_the_plain_pipeline() -> None:
    def of(wanted: Any, tokens: Sequence[str]) -> dict[str, Any]:
        stages = {t: orderings.Stage(t, "prune", "a-method", "requantize") for t in tokens}
        return dict(orderings.rows_of_arms(orderings.plan(wanted, stages), "study.yaml"))

    tokens = ["P.paper", "P", "Q"]
    found = of({"paper": ["P.paper", "Q"], "corrected": ["P", "Q"]}, tokens)
    assert list(found) == ["paper", "corrected"]
    assert found["paper"] == {
        "base": "base", "P": "P.paper", "Q": "Q", "P-Q": "P.paper-Q", "Q-P": "Q-P.paper",
    }  # fmt: skip
    assert found["corrected"]["Q-P"] == "Q-P"
    assert of(["P-Q"], tokens) == {"all": {"base": "base", "P": "P", "P-Q": "P-Q"}}
    # the row of the published name stands for it, and a control beside it for nothing
    assert of(["P.paper-Q", "P-Q"], tokens)["all"] == {
        "base": "base", "P": "P", "P-Q": "P-Q",
    }  # fmt: skip
    with pytest.raises(HarnessError, match=r"holds P\.paper and P\.bare.*published P;"):
        of(["P.paper", "P.bare"], [*tokens, "P.bare"])


def test_a_control_has_no_published_figure(tmp_path: Path) -> None:
    """P.bare beside P is a control of ours: the published P is one row alone."""
    rows = [*ALL, "P.bare"]
    tree(tmp_path, {**AS_PUBLISHED, "P.bare": 2.0})
    table(tmp_path, rows, (0,), f"--published={ARXIV}")
    with (tmp_path / "table.csv").open(newline="") as stream:
        shown = {line["pipeline"]: line["published_perplexity"] for line in csv.DictReader(stream)}
    assert (shown["P"] != "n/a", shown["P.bare"]) == (True, "n/a")
    stages = config()["stages"]
    its = {"stages": {**stages, "P.bare": stages["P"]}, "orderings": rows[1:]}
    table(tmp_path, rows)
    assert found(tmp_path, **its)["kd-below-base"]["rows"] == "KD base"


def test_every_arm_has_its_verdict(tmp_path: Path) -> None:
    """Two arms that share base and Q: one as published, one with P as good as harmless."""
    stages = config()["stages"]
    stages |= {"P.mild": stages["P"], "KD.mild": stages["KD"]}
    wanted = {"severe": ["P", "KD", "Q"], "mild": ["P.mild", "KD.mild", "Q"]}
    rows = list(orderings.plan(wanted, dict.fromkeys(stages, STAGE)).rows)
    for row in rows:
        more = AS_PUBLISHED[orderings.plain(row)]
        add_row(tmp_path, row, 0, more if "mild" not in row else -0.1 * more, 0.02)
    named = {"severe": [r for r in rows if "mild" not in r],
             "mild": ["base", *(r for r in rows if "mild" in r or r == "Q")]}  # fmt: skip
    flags = ["--arms", *(f"{arm}={','.join(its)}" for arm, its in named.items())]
    table(tmp_path, rows, (0,), *flags)
    done = judged(tmp_path, stages=stages, orderings=wanted)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "verdict.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["arm"] for line in lines] == ["severe"] * 20 + ["mild"] * 20
    of = {(line["arm"], line["claim"]): line for line in lines}
    assert of["severe", "early-q-collapses"]["verdict"] == "reproduced"
    assert of["mild", "early-q-collapses"]["verdict"] == "not reproduced"
    assert float(of["severe", "ranking-perplexity"]["ours"]) > 0.8
    assert float(of["mild", "ranking-perplexity"]["ours"]) < -0.5
    assert "## Arm mild: " in (tmp_path / "verdict.md").read_text()
    assert "arm severe: " in done.stdout
    spoil(tmp_path, "P.mild,mild", "P.mild,severe")
    assert "arm of P.mild is severe but" in refused(tmp_path, stages=stages, orderings=wanted)


# --- the other studies -----------------------------------------------------------------------


def renamed(tokens: Mapping[str, str]) -> dict[str, Any]:
    """Stages under other names: what a name means is the study's business."""
    stages = config()["stages"]
    return {token: stages[like] for token, like in tokens.items()}


def test_the_sixteen_pipeline_study(tmp_path: Path) -> None:
    rows = ["base", *orderings.all_subsets(["FT", "P", "Q"])]
    for row in rows:
        add_row(tmp_path, row, 0, 0.1 * len(orderings.split(row)), 0.02)
        right = 300 - 100 * ("P" in orderings.split(row)) - 30 * row.startswith("FT-Q")
        path = tmp_path / f"seed0/evaluations/{row}/lm_eval.json"
        write(path, {"mmlu": answers(right, 400), "other": answers(200, 400)})
    table(tmp_path, rows)
    stages = renamed({"FT": "KD", "P": "P", "Q": "Q"})
    lines = found(tmp_path, published="llm-workout-plan", stages=stages)
    for claim in ("p-after-q", "p-after-ft", "q-after-ft", "ft-before-q"):
        assert lines[claim]["verdict"] == "reproduced", lines[claim]
    assert lines["p-after-q"]["published"] == "0.2450"  # 51.9 - 27.4%
    assert "mean accuracy over mmlu (400 questions)" in lines["p-after-q"]["method"]
    ranked = lines["ranking-mmlu"]["rows"].split()
    assert not {"P-FT", "P-FT-Q"} & {*ranked}  # never pruned, says the audit
    assert len(ranked) == 10
    assert lines["size-1.7"]["verdict"] == "not testable here"
    page = (tmp_path / "verdict.md").read_text()
    assert "14 of lawbench, invalid" in page
    assert "sizes of P and Q are swapped" in page


def test_the_pruning_study(tmp_path: Path) -> None:
    tokens = ["LPB25", "LPC20", *(f"SG{n}" for n in range(10, 100, 10)), "Q"]
    for nth, row in enumerate(["base", *tokens]):
        add_row(tmp_path, row, 0, 0.05 if row == "Q" else 0.1 * nth, 0.01)
    table(tmp_path, ["base", *tokens])
    stages = renamed({token: "Q" if token == "Q" else "P" for token in tokens})
    lines = found(tmp_path, published="llm-compression", stages=stages, orderings=tokens)
    for claim in ("block-lpb25", "sparsegpt-rises", "q-costs-less-than-half"):
        assert lines[claim]["verdict"] == "reproduced", lines[claim]
    assert "perplexity on wiki" in lines["block-lpb25"]["method"]
    assert lines["block-lpb40"]["evidence"].startswith("it needs LPB40 (not in this study)")
    assert lines["ranking-wikitext2"]["verdict"] == "not testable here"  # two rows without base
    assert lines["ranking-wikitext2-13b"]["verdict"] == "reproduced"
    assert "17 of perplexity_c4, extrapolated" in (tmp_path / "verdict.md").read_text()


# --- the command -----------------------------------------------------------------------------


def test_the_command_as_a_process_and_the_same_bytes_twice(tmp_path: Path) -> None:
    tree(tmp_path, AS_PUBLISHED)
    assert judged(tmp_path).returncode == 0
    first = [(tmp_path / f"verdict.{end}").read_bytes() for end in ("csv", "md")]
    flags = (f"--study={tmp_path / 'study.yaml'}", f"--results={tmp_path}")
    done = process("-m", "compression_order.commands", "verdict", *flags)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert first == [(tmp_path / f"verdict.{end}").read_bytes() for end in ("csv", "md")]
    assert max(map(len, done.stdout.splitlines())) <= 120
    said = " ".join(done.stdout.split())
    assert "The model of this study is tiny, 134,000,000 parameters. It can speak to how" in said
    assert "Claims it cannot speak to: size-5.90," in said
    with (tmp_path / "verdict.csv").open(newline="") as stream:
        verdicts_found = [line["verdict"] for line in csv.DictReader(stream)]
    counts = [f"{verdicts_found.count(v)} {v}" for v in verdict_page.VERDICTS]
    assert ", ".join(counts) in said
    assert len(verdicts_found) == 20
    assert "Published figures left out: none." in said
    assert not [*tmp_path.glob(".*partial*")]


def spoil(root: Path, old: str, new: str) -> None:
    path = root / "table.csv"
    path.write_text(path.read_text().replace(old, new, 1))


def refused(root: Path, *flags: object, **changes: Any) -> str:
    before = {p: p.read_bytes() for p in root.glob("verdict.*")}
    done = judged(root, *flags, **changes)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert {p: p.read_bytes() for p in root.glob("verdict.*")} == before
    return str(done.stderr)


def test_no_table_yet(tmp_path: Path) -> None:
    said = refused(tmp_path)
    assert f"{tmp_path}/table.csv does not exist; run `make table STUDY=" in said
    tree(tmp_path, AS_PUBLISHED)
    (tmp_path / "elsewhere").mkdir()
    said = refused(tmp_path, "--results", tmp_path / "elsewhere", "--table", tmp_path / "table.csv")
    assert "has no evaluations that" in said


def test_a_study_without_published_figures(tmp_path: Path) -> None:
    tree(tmp_path, AS_PUBLISHED)
    text = yaml.safe_dump({k: v for k, v in config().items() if k != "published"})
    (tmp_path / "bare.yaml").write_text(text)
    done = ask("verdict", "--study", tmp_path / "bare.yaml", "--results", tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path}/bare.yaml: the key 'published' is missing" in done.stderr
    for study in claims.REGISTRY:
        assert study in done.stderr


def test_a_table_from_another_study(tmp_path: Path) -> None:
    tree(tmp_path, AS_PUBLISHED)
    said = refused(tmp_path, model=model("smollm2-135m-instruct"))
    assert "base has 134,000,000 parameters but smollm2-135m-instruct" in said
    assert "has 134,515,008: the table is of another study" in said
    tree(tmp_path / "few", {p: AS_PUBLISHED[p] for p in ("base", "P", "Q")})
    flag = ("--table", tmp_path / "few/table.csv")
    assert "lacks the row KD, which the study test has" in refused(tmp_path, *flag)
    said = refused(tmp_path, orderings=["P", "Q"])
    assert "has the row KD, which the study test does not have" in said
    tree(tmp_path / "levels", {p: more + 0.3 for p, more in AS_PUBLISHED.items()})
    flag = ("--table", tmp_path / "levels/table.csv")
    said = refused(tmp_path, *flag)
    assert "ppl_chat of P is" in said
    assert f"but the evaluations in {tmp_path} give" in said
    tree(tmp_path / "asked", AS_PUBLISHED)
    for row in ALL:
        path = tmp_path / f"asked/seed0/evaluations/{row}/lm_eval.json"
        write(path, {"another": answers(50, 100)})
    table(tmp_path / "asked", ALL)
    flag = ("--table", tmp_path / "asked/table.csv")
    assert "lacks the column acc_quiz" in refused(tmp_path, *flag)
    spoil(tmp_path, "acc_quiz,", "acc_quiz,acc_more,")
    path = tmp_path / "table.csv"
    head, *rest = path.read_text().splitlines()
    at = head.split(",").index("acc_more")
    wide = [",".join([*line.split(",")[:at], "0.5", *line.split(",")[at:]]) for line in rest]
    path.write_text("\n".join([head, *wide]) + "\n")
    assert "has the column acc_more, which the evaluations in" in refused(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("pipeline,stages", "pipeline,pipeline", "does not name each column once"),
        ("pipeline,", "row,", "`pipeline` among them"),
        ("size_mib", "size", "lacks the column size_mib"),
        ("\nP,1,", "\nP,", "line 3 does not have 23 cells"),
        ("\nP,1,", "\nP,,", "line 3 does not have 23 cells"),
        ("\nKD,", "\nP,", "it has the row P twice"),
        ("\nP,1,1000.00", "\nP,1,many", "size_mib of P is many but"),
        ("\nP,1,1000.00", "\nP,1,1001.00", "size_mib of P is 1001.00 but"),
    ],
)
def test_a_damaged_table(tmp_path: Path, old: str, new: str, words: str) -> None:
    tree(tmp_path, AS_PUBLISHED)
    spoil(tmp_path, old, new)
    assert words in refused(tmp_path)


def test_a_table_cut_short_or_not_text(tmp_path: Path) -> None:
    tree(tmp_path, AS_PUBLISHED)
    path = tmp_path / "table.csv"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "does not have 23 cells" in refused(tmp_path)
    path.write_bytes(b"")
    assert "it has no rows" in refused(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    assert "is not text" in refused(tmp_path)
