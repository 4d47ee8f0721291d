"""analysis.json and findings.md, on results trees of known content and through the command line."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from results_tree import (
    ALL,
    FIGURES,
    add_row,
    answers,
    command,
    edit,
    perplexity,
    process,
    results_tree,
    write,
)

import findings as script
from compression_order import orderings
from compression_order.common.errors import HarnessError
from compression_order.findings import (
    arm,
    assembly,
    chosen,
    comparisons,
    controls,
    listing,
    prose,
    simple_effects,
    trainings,
    wording,
)
from compression_order.results import guards, published, quantized_first
from compression_order.statistics import estimates, paired
from compression_order.study import settings

TRAINED = {"steps": 24, "batch_size": 4, "accumulation": 1}
STAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "P": ("ffn-neurons", {"ratio": 0.25, "recovery": TRAINED}),
    "P.bare": ("ffn-neurons", {"ratio": 0.25, "recovery": {**TRAINED, "steps": 0}}),
    "P.half": ("ffn-neurons", {"ratio": 0.5, "recovery": {**TRAINED, "steps": 0}}),
    "KD": ("logits", {"alpha": 0.5, "temperature": 2.0, "training": TRAINED}),
    "KD.ce": ("logits", {"alpha": 0.0, "temperature": 2.0, "training": TRAINED}),
    "Q": ("nf4", {"double_quant": True}),
}
FULL = [row for row in ALL if row.count("-") == 2]
CONTROLS = ["P.bare", "KD.ce", "P.bare-KD", "P-KD.ce-Q", "P.half", "P.bare-Q", "P.half-Q"]
CONTROLS += ["Q-P.bare", "Q-P.half"]


def tree(root: Path, rows: Sequence[str], seeds: Sequence[int] = (0,), noise: float = 0.05) -> Path:
    """A finished study whose manifests name real methods."""
    results_tree(root, [row for row in rows if row in ALL], seeds, noise)
    for seed in seeds:
        for row in rows:
            if row not in ALL:
                early = bool(orderings.before(row, "Q", "P"))
                add_row(root, row, seed, 0.1 * row.count("-") + 1.8 * early + 0.3, noise)
            if row != "base":
                method, settings = STAGES[orderings.last(row)]
                manifest = root / f"seed{seed}" / "checkpoints" / row / "checkpoint.json"
                trained = {"steps": 24, "tokens": 5000}
                claims = {"training": trained} if method == "logits" else {"layers": 2}
                edit(manifest, method=method, settings=settings, claims=claims)
    return root


def made(root: Path, rows: Sequence[str], seeds: Sequence[int] = (0,), **more: Any) -> Any:
    records = guards.load(root, rows, seeds)
    arms: Mapping[str, Sequence[str]] = more.get("arms", {})
    wanted = more.get("wanted", settings.Comparisons())
    return assembly.analysis("t", rows, records, arms, more.get("published"), wanted)


def chat(analysis: Any, arm: str = "all") -> Any:
    return analysis["arms"][arm]["perplexity"]["chat"]


def ran(root: Path, rows: Sequence[str], seeds: Sequence[int] = (0,), *more: object) -> Any:
    return command(script.main, *flags(root, rows, seeds), *more)


def flags(root: Path, rows: Sequence[str], seeds: Sequence[int]) -> list[object]:
    its = ["--study=t", "--results", root, "--rows", *rows, "--seeds", *seeds]
    return [*its, "--json", root / "analysis.json", "--markdown", root / "findings.md"]


# what is compared


def test_full_orders_are_those_that_no_other_orders_contain() -> None:
    found = orderings.full_orders([*ALL, "P.bare-KD-Q", "Q-P.bare-KD", "P.half-Q", "Q-P.half"])
    assert [set(orders.rows) for orders in found] == [
        set(FULL),
        {"P.bare-KD-Q", "Q-P.bare-KD"},
        {"P.half-Q", "Q-P.half"},
    ]
    assert orderings.full_orders(["base", "P", "Q", "P-Q"]) == []
    assert orderings.full_orders(["Q-P-Q", "P-Q", "Q-P"])[0].rows == ("P-Q", "Q-P")


def test_commutators_swap_two_neighbours_and_nothing_else() -> None:
    found = chosen.commutators(ALL)
    assert len(found) == 9  # three pairs, and each full order with two others
    labels = {(label["first"], label["second"]): label for label, _ in found}
    assert labels["P-KD-Q", "P-Q-KD"]["after"] == "P"
    assert labels["P-KD-Q", "KD-P-Q"]["then"] == "Q"
    assert ("P-KD-Q", "Q-KD-P") not in labels  # not neighbours


def test_simple_effects_are_told_apart_where_they_interact(tmp_path: Path) -> None:
    """Damage of 1.8 nats where Q is before P, and next to nothing else."""
    figures = published.read(FIGURES, "arxiv-2511.19495")
    found = chat(made(tree(tmp_path, ALL), ALL, published=figures))["full_orders"][0]
    effects = {(e["effect"], e["where"]): e for e in found["simple_effects"]["entries"]}
    assert len(effects) == 5
    for where in simple_effects.WHERE[simple_effects.PRUNE].values():
        if where:
            prune = effects["prune after quantize", where]
            assert prune["log_ratio"] == pytest.approx(1.8, abs=0.06)
            assert prune["separable"]
    for where in simple_effects.WHERE[simple_effects.TRAIN].values():
        if where:
            assert effects["train after quantize", where]["log_ratio"] == pytest.approx(0, abs=0.06)
    assert effects["interaction", ""]["log_ratio"] == pytest.approx(0, abs=0.06)
    gap, train_gap = found["gaps"]
    assert set(gap["holds"]) == {"KD-Q-P", "Q-P-KD", "Q-KD-P"}
    assert gap["gap"] == pytest.approx(math.exp(1.8), rel=0.1)
    assert gap["published_gap"] == pytest.approx(24.07 / 5.60)
    assert train_gap["gap"] < 1 > train_gap["gap_interval_text"][1]
    told = prose.page(made(tmp_path, ALL, published=figures))
    assert "published: 4.298; every order of the first is above every other one" in told
    assert "published: 0.105; not every order of the first is above every other one" in told


def shift(root: Path, rows: Sequence[str], by: float) -> None:
    """Move the losses of rows on the chat text."""
    for row in rows:
        at = root / f"seed0/evaluations/{row}/perplexity.json"
        entry = json.loads(at.read_text())["chat"]
        losses = [loss + by for loss in entry["losses"]]
        edit(at, "chat", **perplexity("documents", losses, entry["counts"]))


def test_opposite_effects_do_not_cancel(tmp_path: Path) -> None:
    """Training after Q lowers the loss before P and raises it after: the mean would say nothing."""
    root = tree(tmp_path, ALL, noise=0.01)
    shift(root, ["P-Q-KD"], -0.2)
    shift(root, ["Q-P-KD", "Q-KD-P"], 0.2)
    analysis = made(root, ALL)
    family = chat(analysis)["full_orders"][0]["simple_effects"]
    effects = {(e["effect"], e["where"]): e for e in family["entries"]}
    before = effects["train after quantize", "pruning before quantizing"]
    after = effects["train after quantize", "pruning after quantizing"]
    interaction = effects["interaction", ""]
    assert (before["log_ratio"] < -0.15, before["separable"]) == (True, True)
    assert (after["log_ratio"] > 0.15, after["separable"]) == (True, True)
    ratio = after["log_ratio"] - before["log_ratio"]
    assert interaction["log_ratio"] == pytest.approx(ratio)
    page = prose.page(analysis)
    assert "The two effects interact: " in page
    assert "So each holds only where the table says." in page


def test_a_verdict_that_depends_on_the_weighting_is_flagged(tmp_path: Path) -> None:
    """One long document decides by tokens, and 59 short ones by documents."""
    root, rows = tree(tmp_path, ["base", "P-Q", "Q-P"]), ["base", "P-Q", "Q-P"]
    counts = [100_000, *[100] * 59]
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.02, 60)
    for row, sign in (("base", 0), ("P-Q", 0), ("Q-P", 1)):
        losses = 2 + sign * (noise + np.array([-0.3, *[0.1] * 59]))
        edit(root / f"seed0/evaluations/{row}/perplexity.json", "chat",
             **perplexity("documents", losses.tolist(), counts))  # fmt: skip
    contrast = settings.Contrast(over=["Q-P"], under=["P-Q"], expect="lower")
    wanted = settings.Comparisons(contrasts={"the swap": contrast})
    found = made(root, rows, wanted=wanted)
    entry = chat(found)["contrasts"]["entries"][0]
    assert entry["ratio"] < 1 < entry["beside"]["weighting"]["ratio"]
    line = next(its for its in prose.page(found).splitlines() if its.startswith("| the swap"))
    assert "lower, found" in line
    assert "the weighting of documents" in line


def test_pruning_is_named_only_where_the_bare_cut_agrees(tmp_path: Path) -> None:
    rows = ["base", "P", "Q", "P-Q", "Q-P", "P.bare", "P.bare-Q", "Q-P.bare"]
    root = tree(tmp_path, rows, noise=0.01)

    def acts() -> dict[str, str]:
        return {
            orders["orders"][0]: orders["simple_effects"]["entries"][0]["acts"]
            for orders in chat(made(root, rows))["full_orders"]
        }

    assert acts() == {"P-Q": "pruning", "P.bare-Q": "pruning"}
    shift(root, ["Q-P.bare"], -4.0)
    assert acts() == {"P-Q": "cutting and recovering", "P.bare-Q": "cutting"}


def test_trainings_are_checked_before_orders_are_ranked(tmp_path: Path) -> None:
    rows = [*ALL, "P.bare", "KD-P.bare", "Q-P.bare", "Q-KD-P.bare", "KD-Q-P.bare"]
    root = tree(tmp_path, rows, noise=0.01)
    bare = [row for row in rows if row.endswith("P.bare")]
    shift(root, bare, 9.0)
    taught = [row for row in rows if row != "base" and orderings.last(row) == "KD"]
    shift(root, taught, -9.0)
    found = chat(made(root, rows))
    family = found["trainings"]["entries"]
    assert {(e["with"], e["without"]) for e in family} == {
        (row, orderings.parent(row)) for row in taught
    } | {(row.removesuffix(".bare"), row) for row in bare}
    assert all(entry["separable"] and entry["log_ratio"] < 0 for entry in family)
    assert "**Orders of P, KD and Q, perplexity on chat (60 documents): " in (
        page := prose.page(made(root, rows))
    )
    assert "The order matters on this text" in page
    shift(root, ["P-KD"], 9.5)
    page = prose.page(made(root, rows))
    assert "These orders differ on this text" in page
    assert "training is not shown to help at 1 of 10 places" in page
    assert "(P-KD)" in page


def test_the_teachers_part_is_the_effect_less_that_of_fine_tuning(tmp_path: Path) -> None:
    twins = {row: row.replace("KD", "KD.ce") for row in ALL if "KD" in row}
    rows = [*ALL, *twins.values()]
    root = tree(tmp_path, rows, noise=0.01)
    shift(root, ["KD-Q-P"], 0.3)
    orders = chat(made(root, rows))["full_orders"]
    with_teacher = next(o for o in orders if o["stages"] == ["P", "KD", "Q"])
    without = next(o for o in orders if o["stages"] == ["P", "KD.ce", "Q"])
    own = [e["log_ratio"] for e in with_teacher["simple_effects"]["entries"]]
    other = [e["log_ratio"] for e in without["simple_effects"]["entries"]]
    part = with_teacher["teachers_part"]["entries"]
    assert [e["log_ratio"] for e in part] == pytest.approx(np.subtract(own, other))
    assert without["teachers_part"] == arm.NOT_HERE
    assert "identified: the teacher's" in prose.page(made(root, rows))


def test_a_teacher_that_knows_nothing_new_is_a_negative_control(tmp_path: Path) -> None:
    """KD of base from base: what follows must be as if it had not been there."""
    known = {
        "KD.base": controls.Token(
            "KD.base", "distill", "logits", {"alpha": 1.0, "teacher": "base", "training": TRAINED}
        ),
        "P": controls.Token("P", "prune", "ffn-neurons", {"ratio": 0.25}),
        "Q": controls.Token("Q", "quantize", "nf4", {}),
    }
    rows = ["base", "P", "Q", "P-Q", "KD.base", "KD.base-P", "KD.base-P-Q", "Q-KD.base"]
    found = [(label["with"], label["control"]) for label, _ in controls.asked(rows, known)]
    assert found == [("KD.base", "base"), ("KD.base-P", "P"), ("KD.base-P-Q", "P-Q")]
    assert trainings.manipulations(rows, known, {}) == []


def test_equal_is_said_only_within_the_bound(tmp_path: Path) -> None:
    rows = ["base", "P-Q", "Q-P"]
    root = tree(tmp_path, rows, noise=0.02)
    shift(root, ["Q-P"], -1.8)
    near = family_of(made(root, rows))["entries"][0]
    assert near["equal"]
    assert "equal within the bound" in prose.page(made(root, rows))
    strict = made(root, rows, wanted=settings.Comparisons(bound=1.00001))
    assert not family_of(strict)["entries"][0]["equal"]


def test_effects_need_both_kinds() -> None:
    kinds = {"P": "prune", "Q": "quantize", "FT": "finetune"}
    assert quantized_first.holds("P-Q", quantized_first.PRUNING, kinds) is False
    assert quantized_first.holds("Q-P-FT", quantized_first.TRAINING, kinds) is True
    assert quantized_first.holds("P-FT", quantized_first.TRAINING, kinds) is None
    assert simple_effects.asked(["P-Q"], kinds) == []


def test_controls_are_found_by_their_settings(tmp_path: Path) -> None:
    rows = [*ALL, *CONTROLS]
    analysis = made(tree(tmp_path, rows), rows)
    found = {
        (e["leaves_out"], e["with"], e["control"]): e for e in chat(analysis)["controls"]["entries"]
    }
    assert set(found) == {
        ("recovery", "P", "P.bare"),
        ("recovery", "P-KD", "P.bare-KD"),
        ("recovery", "P-Q", "P.bare-Q"),
        ("recovery", "Q-P", "Q-P.bare"),
        ("teacher (alpha 0)", "KD", "KD.ce"),
        ("teacher (alpha 0)", "P-KD-Q", "P-KD.ce-Q"),
    }
    assert found["recovery", "P", "P.bare"]["conversations"] == [96, 0]
    assert found["teacher (alpha 0)", "KD", "KD.ce"]["conversations"] == [96, 96]
    equal = {(e["first"], e["second"]) for e in chat(analysis)["equal_budget"]["entries"]}
    assert equal == {("KD", "KD.ce"), ("P", "P.bare-KD")} | {
        (row, "P-KD.ce-Q") for row in FULL if orderings.before(row, "P", "Q")
    }


def test_fine_tuning_is_a_control_of_distillation_at_the_same_budget() -> None:
    known = {
        "KD": controls.Token("KD", "distill", "logits", {"alpha": 0.5, "training": TRAINED}),
        "FT": controls.Token("FT", "finetune", "full", {"training": TRAINED}),
        "FT.more": controls.Token("FT.more", "finetune", "full", {"training": {"steps": 99}}),
    }
    assert list(controls.twins(known)) == [("teacher (fine-tuning, full)", "KD", "FT")]


def test_a_control_that_trains_otherwise_is_none() -> None:
    settings = {"alpha": 0.5, "training": TRAINED}
    slower = {"alpha": 0.0, "training": {**TRAINED, "learning_rate": 1e-5}}
    known = {
        "KD": controls.Token("KD", "distill", "logits", settings),
        "KD.ce": controls.Token("KD.ce", "distill", "logits", {**settings, "alpha": 0.0}),
        "KD.slow": controls.Token("KD.slow", "distill", "logits", slower),
        "P": controls.Token("P", "prune", "ffn-neurons", {"ratio": 0.25, "recovery": TRAINED}),
        "P.less": controls.Token("P.less", "prune", "ffn-neurons", {"ratio": 0.2}),
    }
    assert list(controls.twins(known)) == [("teacher (alpha 0)", "KD", "KD.ce")]


def test_a_strength_is_what_the_method_declares_as_one() -> None:
    def strength(**settings: Any) -> tuple[Any, ...]:
        return controls.Token("P", "prune", "shortgpt", settings).strength

    assert strength(layers=2, samples=8) == strength(layers=2, samples=0)
    assert strength(layers=2) != strength(layers=4)
    assert strength(layers=0, ratio=0.2) != strength(layers=0, ratio=0.3)


def test_weaker_first_needs_a_grid_of_strengths(tmp_path: Path) -> None:
    rows = [*ALL, *CONTROLS]
    analysis = made(tree(tmp_path, rows), rows)
    cells = chat(analysis)["weaker_first"]["cells"]
    assert [cell["prune"] for cell in cells] == ["P", "P.bare", "P.half"]
    first = cells[0]
    # P alone does 0.02 nats less damage than Q here; Q before P does 1.8 nats more
    assert first["weaker"] == "P"
    assert first["weaker_first_is_better"]
    assert first["orders_separable"]
    assert chat(made(tmp_path, ALL))["weaker_first"] == arm.NOT_HERE


def test_a_study_without_orders_or_controls_says_so(tmp_path: Path) -> None:
    rows = ["base", "P", "Q", "P-Q"]
    analysis = made(tree(tmp_path, rows), rows)
    text = chat(analysis)
    assert text["full_orders"] == []
    assert {text[key] for key in ("controls", "equal_budget", "weaker_first", "commutators")} == {
        arm.NOT_HERE
    }
    page = prose.page(analysis)
    assert page.count("not in this study") == 4
    assert "orders cannot be compared" in page


# which comparisons


def test_by_default_orders_of_the_same_stages_are_compared(tmp_path: Path) -> None:
    text = chat(made(tree(tmp_path, ALL), ALL))
    assert text["all_rows"].startswith("not asked for")
    assert text["contrasts"] == "not in this study"
    smaller = {tuple(its["stages"]): its["pairs"]["comparisons"] for its in text["smaller_orders"]}
    assert smaller == {("P", "KD"): 1, ("P", "Q"): 1, ("KD", "Q"): 1}
    assert family_of({"arms": {"all": {"perplexity": {"chat": text}}}})["comparisons"] == 15


def test_every_two_rows_are_compared_where_a_study_asks(tmp_path: Path) -> None:
    text = chat(made(tree(tmp_path, ALL), ALL, wanted=settings.Comparisons(pairs="all")))
    assert text["all_rows"]["comparisons"] == len(ALL) * (len(ALL) - 1) // 2


def test_declared_contrasts_are_a_family_of_their_own(tmp_path: Path) -> None:
    root = tree(tmp_path, ALL)
    declared = {
        "swap": settings.Contrast(over=["P-Q"], under=["Q-P"]),
        "means": settings.Contrast(over=[["P-KD-Q", "KD-P-Q"]], under=["P-Q-KD"]),
    }
    found = made(root, ALL, wanted=settings.Comparisons(contrasts=declared))
    entries = chat(found)["contrasts"]["entries"]
    assert [e["name"] for e in entries] == list(declared)
    every = chat(made(root, ALL, wanted=settings.Comparisons(pairs="all")))
    same = next(
        e for e in every["all_rows"]["entries"] if (e["first"], e["second"]) == ("P-Q", "Q-P")
    )
    assert entries[0]["ratio"] == same["ratio"]
    # corrected for two, not for every pair
    assert entries[0]["simultaneous"][0] > same["simultaneous"][0]
    means = {row: its["log_perplexity"] for row, its in every["rows"].items()}
    mean = (means["P-KD-Q"] + means["KD-P-Q"]) / 2 - means["P-Q-KD"]
    assert entries[1]["log_ratio"] == pytest.approx(mean)
    assert "Declared before the run: " in prose.page(found)
    # of question sets only a pair of rows can be tested
    asked = found["arms"]["all"]["questions"]["quiz"]["contrasts"]["entries"]
    assert [(e["first"], e["second"]) for e in asked] == [("P-Q", "Q-P")]


def test_the_command_takes_declared_contrasts(tmp_path: Path) -> None:
    root = tree(tmp_path, ALL)
    asked = {"pairs": "all", "contrasts": {"swap": {"over": ["P-Q"], "under": ["Q-P"]}}}
    done = ran(root, ALL, (0,), f"--comparisons={json.dumps(asked)}")
    assert done.returncode == 0, done.stderr
    text = chat(json.loads((root / "analysis.json").read_text()))
    assert (text["contrasts"]["comparisons"], text["all_rows"]["comparisons"]) == (1, 120)
    asked["contrasts"]["swap"]["under"] = ["P.none"]
    wrong = ran(root, ALL, (0,), f"--comparisons={json.dumps(asked)}")
    assert "contrasts.swap: 'P.none' is not one of --rows" in wrong.stderr


def test_a_long_family_is_listed_in_short_and_counted_whole() -> None:
    """Every two of 60 rows: 1,770 comparisons, of which as many are listed as there are rows."""
    rng = np.random.default_rng(0)
    rows = {f"r{i}": rng.normal(2 + 0.01 * i, 0.2, (1, 40)) for i in range(60)}
    sample = estimates.Sample("wiki", "40 windows", rows, np.ones(40), 512, {})
    text = comparisons.Text.of(sample, 1.05)
    tested = text.tested(text.every_two(list(rows)))
    short, whole = tested.family(listing.SHORT), tested.family(10_000)
    assert (short["comparisons"], short["separable"]) == (1770, whole["separable"])
    assert len(short["entries"]) < 200 < len(whole["entries"]) == 1770
    every = {(e["first"], e["second"]): e for e in whole["entries"]}
    listed = {(e["first"], e["second"]): e for e in short["entries"]}
    assert all(every[two] == entry for two, entry in listed.items())
    ascending = sorted(rows, key=lambda row: rows[row].mean())
    with_best = {frozenset((ascending[0], row)) for row in ascending[1:]}
    neighbours = {frozenset(two) for two in pairwise(ascending)}
    assert with_best | neighbours <= set(map(frozenset, listed))
    furthest = max(e["log_ratio"] for e in map(wording.upwards, every.values()) if e["separable"])
    assert furthest in [abs(e["log_ratio"]) for e in listed.values()]


# verdicts and intervals


def family_of(analysis: Any) -> Any:
    return chat(analysis)["full_orders"][0]["pairs"]


def test_verdict_and_simultaneous_interval_never_disagree(tmp_path: Path) -> None:
    for seeds in ((0,), (0, 1, 2)):
        root = tree(tmp_path / str(len(seeds)), ALL, seeds)
        analysis = made(root, ALL, seeds, wanted=settings.Comparisons(pairs="all"))
        text = chat(analysis)
        families = [text["all_rows"], text["commutators"], family_of(analysis)]
        entries = [entry for family in families for entry in family["entries"]]
        assert {entry["separable"] for entry in entries} == {True, False}
        for entry in entries:
            low, high = entry["simultaneous"]
            assert entry["separable"] is not (low <= 1 <= high)
            assert low < entry["interval"][0] < entry["ratio"] < entry["interval"][1] < high
            assert not (entry["separable"] and entry["p_holm"] > 0.05)
        for question in analysis["arms"]["all"]["questions"]["quiz"]["all_rows"]["entries"]:
            low, high = question["share_of_first_simultaneous"]
            assert question["separable"] is not (low <= 0.5 <= high)


def test_a_pair_is_the_estimate_of_the_table(tmp_path: Path) -> None:
    root = tree(tmp_path, ALL)
    records = guards.load(root, ALL, [0])
    one, other = (records[row][0].perplexity["wiki"] for row in ("P-KD-Q", "Q-KD-P"))
    theirs = paired.log_ratio(one.losses, other.losses, one.weights)
    arm = made(root, ALL)["arms"]["all"]
    entries = arm["perplexity"]["wiki"]["full_orders"][0]["pairs"]["entries"]
    ours = next(e for e in entries if (e["first"], e["second"]) == ("P-KD-Q", "Q-KD-P"))
    assert (ours["log_ratio"], ours["se"]) == pytest.approx(tuple(theirs))


def test_identical_rows_are_never_separable(tmp_path: Path) -> None:
    root = tree(tmp_path, ["base", "P-Q", "Q-P"])
    for name in ("perplexity", "lm_eval"):
        at = root / "seed0/evaluations"
        (at / "Q-P" / f"{name}.json").write_text((at / "P-Q" / f"{name}.json").read_text())
    edit(root / "seed0/evaluations/Q-P/perplexity.json", "wiki",
         **perplexity("windows", [3.0] * 60, [100] * 60))  # fmt: skip
    entry = family_of(made(root, ["base", "P-Q", "Q-P"]))["entries"][0]
    assert (entry["ratio"], entry["p"], entry["separable"]) == (1.0, 1.0, False)


def test_one_unit_gives_no_interval_and_no_verdict(tmp_path: Path) -> None:
    rows = ["base", "P-Q", "Q-P"]
    for seeds in ((0,), (0, 1)):
        root = tree(tmp_path / str(len(seeds)), rows, seeds)
        for seed in seeds:
            for nth, row in enumerate(rows):
                at = root / f"seed{seed}/evaluations/{row}/perplexity.json"
                edit(at, "chat", **perplexity("documents", [2.0 + nth], [100]))
        done = ran(root, rows, seeds)
        assert done.returncode == 0, done.stderr
        page = (root / "findings.md").read_text()
        assert "No interval can be given, so nothing is said about the order." in page
        text = chat(json.loads((root / "analysis.json").read_text()))
        assert text["full_orders"][0]["pairs"]["entries"][0]["separable"] is False


def test_seeds_widen_the_intervals_and_are_told(tmp_path: Path) -> None:
    root, seeds = tree(tmp_path, ALL, (0, 1, 2)), (0, 1, 2)
    for seed in seeds:
        for nth, row in enumerate(FULL):
            at = root / f"seed{seed}/evaluations/{row}/perplexity.json"
            entry = json.loads(at.read_text())["chat"]
            shift = 0.2 * math.sin(7 * seed + 3 * nth)
            losses = [loss + shift for loss in entry["losses"]]
            edit(at, "chat", **perplexity("documents", losses, entry["counts"]))
    analysis = made(root, ALL, seeds)
    assert analysis["intervals_over"] == "text and seeds"
    for entry in family_of(analysis)["entries"]:
        assert entry["se"] > 3 * entry["se_text"]
        assert entry["sd_seeds"] is not None
    page = prose.page(analysis)
    assert "Seeds 0, 1 and 2 are replicates" in page
    assert "Standard deviation over 3 seeds" in page


def test_one_seed_claims_no_spread(tmp_path: Path) -> None:
    analysis = made(tree(tmp_path, ALL), ALL)
    assert analysis["intervals_over"] == "text"
    assert all(row["sd_seeds"] is None for row in chat(analysis)["rows"].values())
    assert all(entry["sd_seeds"] is None for entry in family_of(analysis)["entries"])
    page = prose.page(analysis)
    assert "There is one seed: the intervals are over text only" in page
    assert "Standard deviation over" not in page


# what the page may say


def test_the_page_names_a_best_order_only_where_it_is_separable(tmp_path: Path) -> None:
    clear = prose.page(made(tree(tmp_path / "clear", ALL, noise=0.001), ALL))
    assert "P-KD-Q has the lowest perplexity, separable from every other order." in clear
    assert "15 of 15 pairs are separable" in clear
    noisy = prose.page(made(tree(tmp_path / "noisy", ALL), ALL))
    assert "No best order can be named: P-KD-Q has the lowest perplexity here" in noisy


def test_the_page_does_not_say_that_the_order_matters_where_nothing_is_separable(
    tmp_path: Path,
) -> None:
    rows = ["base", "P", "KD", "P-KD", "KD-P"]
    analysis = made(tree(tmp_path, rows, noise=2.0), rows)
    page = prose.page(analysis)
    assert "The order matters" not in page
    low, high = family_of(analysis)["entries"][0]["simultaneous"]
    assert f"leave out ratios above {max(high, 1 / low):.3f} between" in page


def test_arms_are_told_apart(tmp_path: Path) -> None:
    rows = [*ALL, "KD.ce", "KD.ce-P", "P-KD.ce"]
    arms = {"published": ALL, "control": ["base", "P", "KD.ce", "KD.ce-P", "P-KD.ce"]}
    analysis = made(tree(tmp_path, rows), rows, arms=arms)
    assert family_of({"arms": {"all": analysis["arms"]["control"]}})["comparisons"] == 1
    page = prose.page(analysis)
    assert page.index("# Arm published") < page.index("# Arm control")


def test_a_guard_finding_reaches_the_page(tmp_path: Path) -> None:
    root = tree(tmp_path, ALL)
    write(root / "seed0/evaluations/P/lm_eval.json", {"quiz": answers(5, 100)})
    page = prose.page(made(root, ALL))
    assert "- `P`: acc_quiz 0.050 is below chance" in page
    assert "degenerate answers of P" in page


# the command line


def test_equal_evaluations_give_equal_bytes(tmp_path: Path) -> None:
    root, names = tree(tmp_path, ALL, (0, 1)), ("analysis.json", "findings.md")
    asked = (*flags(root, ALL, (0, 1)), "--published=arxiv-2511.19495")
    done = process("src/findings.py", *asked)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{root}/findings.md: 16 rows, 2 seeds\n"
    first = [(root / name).read_bytes() for name in names]
    assert str(tmp_path).encode() not in b"".join(first)
    assert ran(root, ALL, (0, 1), "--published=arxiv-2511.19495").returncode == 0
    assert [(root / name).read_bytes() for name in names] == first
    json.loads(first[0], parse_constant=pytest.fail)  # no NaN


def test_a_refused_row_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path, [row for row in ALL if row != "Q-P-KD"])
    done = ran(root, ALL, (0,), "--refused", "Q-P-KD=KD refuses the quantized parent Q-P")
    assert done.returncode == 0, done.stderr
    page = (root / "findings.md").read_text()
    assert "- `Q-P-KD`: refused" in page
    assert "of 10 pairs are separable" in page
    effects = chat(json.loads((root / "analysis.json").read_text()))["full_orders"][0]
    holds = [entry["holds"] for entry in effects["simple_effects"]["entries"]]
    assert ["Q-KD-P"] in holds


def test_a_row_that_is_not_finite_is_left_out_with_its_reason(tmp_path: Path) -> None:
    root = tree(tmp_path, ALL)
    broken = {"losses": [math.nan] * 60, "perplexity": math.nan}
    edit(root / "seed0/evaluations/Q-P-KD/perplexity.json", "chat", **broken)
    done = ran(root, ALL)
    assert done.returncode == 0, done.stderr
    page = (root / "findings.md").read_text()
    assert "- `Q-P-KD`: its perplexity is not finite" in page
    assert "perplexity on chat (60 documents): " in page
    assert "of 10 pairs are separable.**" in page
    assert "On wiki (60 windows)" in page
    analysis = json.loads((root / "analysis.json").read_text(), parse_constant=pytest.fail)
    here, there = (
        {(e["first"], e["second"]): e for e in text["full_orders"][0]["pairs"]["entries"]}
        for text in analysis["arms"]["all"]["perplexity"].values()
    )
    both = [two for two in here if here[two]["separable"] and there[two]["separable"]]
    alike = [two for two in both if here[two]["log_ratio"] * there[two]["log_ratio"] > 0]
    beside = analysis["arms"]["all"]["perplexity"]["wiki"]["full_orders"][0]["beside_primary"]
    assert list(beside.values()) == [len(alike), len(both)]
    assert both


def no_samples(at: Path) -> None:
    empty = {"samples": 0, "correct": [], "choice": []}
    edit(at / "lm_eval.json", "quiz", **empty)


def other_text(at: Path) -> None:
    edit(at / "perplexity.json", "chat", sample_sha256="another")


def other_questions(at: Path) -> None:
    edit(at / "lm_eval.json", "quiz", sample_sha256="another")


def no_evaluation(at: Path) -> None:
    (at / "lm_eval.json").unlink()


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (no_samples, "'quiz' has 0 samples, 0 answers and 0 choices; there must be as many"),
        (other_text, "'chat' is another (60 documents, bf16) but base was scored on sample-doc"),
        (other_questions, "'quiz' is another (100 questions) but base was scored on sample-quiz"),
        (no_evaluation, "lm_eval.json does not exist; run the step that writes it first"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, break_it: Any, told: str) -> None:
    root = tree(tmp_path, ALL)
    break_it(root / "seed0/evaluations/P-Q")
    done = ran(root, ALL)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert "evaluations/P-Q/" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (root / "findings.md").exists()


def test_seeds_of_two_samples_are_refused(tmp_path: Path) -> None:
    root = tree(tmp_path, ALL, (0, 1))
    for row in ALL:
        other_text(root / "seed1/evaluations" / row)
    with pytest.raises(HarnessError, match="so that all rows share one sample"):
        made(root, ALL, (0, 1))
