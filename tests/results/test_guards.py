"""The guards on the published tables of the two audited studies: they find what the audit found."""

import csv
import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from lab import ROOT
from results_tree import SMALL, edit, perplexity, results_tree

from compression_order import orderings
from compression_order.common.errors import HarnessError
from compression_order.results import checks, guards

HALF = 0.005  # of the last digit that both studies print
TEXTS = ("wikitext2", "ptb", "c4")
# questions of the 19 subjects that the study counts as STEM, and of its two law subjects
QUESTIONS = {"mmlu_stem": 3153, "mmlu_law": 1655, "mmlu_stem_valid_only": 412}


def lines(study: str) -> list[dict[str, str]]:
    with (ROOT / "published" / "published.csv").open(newline="") as stream:
        return [line for line in csv.DictReader(stream) if line["study"] == study]


def printed_perplexities() -> dict[str, dict[str, list[float]]]:
    """Model -> pipeline -> perplexity of each text, as printed."""
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for line in lines("llm-compression"):
        if line["metric"].startswith("perplexity_"):
            text = line["metric"].removeprefix("perplexity_")
            found[line["model"]][line["pipeline"]][text] = float(line["value"])
    return {
        model: {p: [v[t] for t in TEXTS] for p, v in rows.items() if set(v) == set(TEXTS)}
        for model, rows in found.items()
    }


def flagged_multiples() -> set[str]:
    return {
        row
        for rows in printed_perplexities().values()
        for row, _ in guards.constant_steps(rows, HALF)
    }


def test_constant_multiples_of_the_audit_are_flagged_and_no_measured_row_is() -> None:
    audited = {
        line["pipeline"] for line in lines("llm-compression") if line["trust"] == "extrapolated"
    }
    assert len(audited) == 17
    # SG90-Q has a factor of its own on every text, so that no other row speaks against it
    assert flagged_multiples() == audited - {"SG90-Q"}


def test_the_one_row_that_is_missed_has_another_factor_than_the_rest() -> None:
    rows = printed_perplexities()["Llama-13B"]
    factors = {
        row: [a / b for a, b in zip(rows[row], rows[orderings.parent(row)], strict=True)]
        for row in ("SG80-Q", "SG90-Q")
    }
    assert all(abs(a - b) > 0.05 for a, b in zip(*factors.values(), strict=True))


def test_measured_rows_printed_with_two_decimals_are_not_flagged() -> None:
    table = re.findall(r"^\| ([\w-]+) \| [\d.]+ \| ([\d.]+) \(.*?\| ([\d.]+) \(.*?\| ([\d.]+) \(",
                       (ROOT / "docs/results.md").read_text(), re.M)  # fmt: skip
    rows = {name: [float(v) for v in values] for name, *values in table}
    assert len(rows) == 16
    assert list(guards.constant_steps(rows, HALF)) == []


def test_below_chance_rows_of_the_audit_are_flagged() -> None:
    invalid, flagged = set(), set()
    for line in lines("llm-workout-plan"):
        if line["metric"] in QUESTIONS:
            cell, samples = (line["pipeline"], line["metric"]), QUESTIONS[line["metric"]]
            if line["trust"] == "invalid":
                invalid.add(cell)
            if checks.below_chance(round(float(line["value"]) / 100 * samples), samples, 0.25):
                flagged.add(cell)
    assert len(invalid) == 28
    assert invalid <= flagged
    # of the recomputed ones, which the audit kept, three are below chance too
    assert {row for row, _ in flagged - invalid} == {"FT-P-Q", "Q-FT-P", "FT-Q-P"}


def test_a_stage_that_multiplies_every_parent_alike_is_named_in_the_table(tmp_path: Path) -> None:
    rows = [*SMALL, "KD", "KD-Q"]
    root = results_tree(tmp_path, rows)
    for parent, row in (("base", "Q"), ("P", "P-Q"), ("KD", "KD-Q")):
        at = root / "seed0/evaluations"
        for text, protocol in (("chat", "documents"), ("wiki", "windows")):
            entry = perplexity_of(at / parent, text)
            more = 0.3 if text == "chat" else 0.2
            losses = [loss + more for loss in entry["losses"]]
            made = perplexity(protocol, losses, entry["counts"])
            edit(at / row / "perplexity.json", text, **made)
    found = guards.findings(guards.load(root, rows, [0]))
    assert found["P-Q"] == ["Q multiplies every perplexity by one factor as in Q, KD-Q"]
    assert found["P"] == found["Q-P"] == []


def perplexity_of(folder: Path, text: str) -> dict[str, list[float]]:
    entries: dict[str, dict[str, list[float]]] = json.loads(
        (folder / "perplexity.json").read_text()
    )
    return entries[text]


@pytest.mark.parametrize("factors", [(1.2, 1.2), (1.2, 1.2, 1.3)])
def test_two_rows_with_one_factor_are_no_proof(factors: tuple[float, ...]) -> None:
    rows = {"base": [10.0]}
    for nth, factor in enumerate(factors):
        rows |= {f"P{nth}": [11.0 + nth], f"P{nth}-Q": [(11.0 + nth) * factor]}
    assert list(guards.constant_steps(rows)) == []


def test_multiples_are_found_as_by_looking_at_every_two_rows() -> None:
    rng = np.random.default_rng(0)
    rows = {f"R{nth}": rng.uniform(5, 50, 3) for nth in range(200)}
    for nth, factor in ((3, 1.7), (4, 0.2), (5, 1.0 + 3e-7)):  # copies, the last within rounding
        rows[f"C{nth}"] = rows[f"R{nth}"] * factor * (1 + rng.uniform(-3e-7, 3e-7, 3))
    rows |= {"R6-Q": rows["R6"], "near": rows["R7"] * [1, 1, 1 + 1e-5]}
    rows["broken"] = np.array([np.inf, 2, 3])
    found = guards.constant_multiples({row: its.tolist() for row, its in rows.items()})
    expected: dict[str, list[str]] = {}
    for row, ours in rows.items():
        for other, theirs in rows.items():
            if row in (other, "broken") or other == "broken" or (row, other) == ("R6", "R6-Q"):
                continue  # R6 was measured, and R6-Q changed nothing
            factors = ours / theirs
            if np.ptp(factors) <= 1e-6 * factors.min():
                told = f"every perplexity is {factors[0]:.6f} times that of {other}"
                expected.setdefault(row, []).append(told)
    assert found == expected
    assert set(found) == {"R3", "R4", "R5", "C3", "C4", "C5", "R6-Q"}


@pytest.mark.parametrize("what", ["checkpoints", "evaluations"])
def test_a_row_of_another_arithmetic_is_refused(tmp_path: Path, what: str) -> None:
    """Records from before studies named it are of bf16."""
    root = results_tree(tmp_path, SMALL, seeds=(0, 1))
    guards.load(root, SMALL, [0, 1])
    at = root / "seed1" / what / "P-Q"
    if what == "checkpoints":
        edit(at / "checkpoint.json", compute="float32")
    else:
        edit(at / "perplexity.json", "chat", compute="float32")
    with pytest.raises(HarnessError, match=r"seed1/.*P-Q.*(float32.*bf16|bf16.*float32)"):
        guards.load(root, SMALL, [0, 1])


def test_a_study_in_float32_is_a_study(tmp_path: Path) -> None:
    root = results_tree(tmp_path, SMALL)
    for row in SMALL:
        for text in ("chat", "wiki"):
            edit(root / "seed0/evaluations" / row / "perplexity.json", text, compute="float32")
        if row != "base":
            edit(root / "seed0/checkpoints" / row / "checkpoint.json", compute="float32")
    assert guards.load(root, SMALL, [0])["P"][0].perplexity["chat"].compute == "float32"


def test_a_checkpoint_that_read_what_is_scored_is_refused(tmp_path: Path) -> None:
    """A held-out conversation among those that trained: the row would be scored on its lessons."""
    root = results_tree(tmp_path, ["base", "P", "P-KD"])
    for row in ("base", "P", "P-KD"):
        path = root / f"seed0/evaluations/{row}/perplexity.json"
        entry = json.loads(path.read_text())["chat"]
        edit(path, "chat", **entry, records=list(range(60)), text_sha256="text")
    manifest = root / "seed0/checkpoints/P-KD/checkpoint.json"
    edit(manifest, read={"sha256": "text", "training": [60, 61], "calibration": [70]})
    guards.load(root, ["base", "P", "P-KD"], [0])
    edit(manifest, read={"sha256": "another", "training": [7]})
    guards.load(root, ["base", "P", "P-KD"], [0])
    edit(manifest, read={"sha256": "text", "training": [61, 7]})
    with pytest.raises(HarnessError, match=r"P-KD/checkpoint\.json: its training read record 7 "):
        guards.load(root, ["base", "P", "P-KD"], [0])


def test_windows_of_one_document_are_one_unit(tmp_path: Path) -> None:
    root = results_tree(tmp_path, ["base"])
    path = root / "seed0/evaluations/base/perplexity.json"
    losses, counts = [1.0, 3.0, 2.0, 4.0], [10, 30, 5, 5]
    entry = perplexity("windows", losses, counts)
    edit(path, "wiki", **entry, clusters=[0, 0, 7, 9])
    found = guards.load(root, ["base"], [0])["base"][0].perplexity["wiki"]
    assert found.losses.tolist() == [2.5, 2.0, 4.0]
    assert found.weights.tolist() == [40, 5, 5]
    assert found.unit == "documents"
    assert found.value == pytest.approx(np.exp(np.average(losses, weights=counts)))
    edit(path, "wiki", **entry, clusters=[0, 0, 7])
    with pytest.raises(HarnessError, match="has 4 losses of 3 clusters"):
        guards.load(root, ["base"], [0])
