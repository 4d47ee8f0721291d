"""The cards: each column is described once, and a metric is one card and what measures it."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lab import ROOT
from results_tree import (
    ALL,
    SMALL,
    add_row,
    ask,
    edit,
    make,
    perplexity_file,
    results_tree,
    write,
)

from compression_order.common.errors import HarnessError
from compression_order.common.writing import MISSING
from compression_order.results import (
    cards,
    cells,
    changes,
    checks,
    guards,
    quantized_first,
    table,
)
from compression_order.results.column import PERCENT, Comparison, Remark, Scored, Shown
from compression_order.results.readings import Number
from compression_order.study import parse

SEEDS = (0, 1)
# the example of the page
PAGE = (ROOT / "docs/add-a-metric.md").read_text()
TOY = eval(
    re.search(r"```python\n(.*?)\n```", PAGE, re.S)[1],  # type: ignore[index]
    {"Scored": Scored, "Shown": Shown, "Number": Number, "Comparison": Comparison,
     "PERCENT": PERCENT, "cells": cells, "checks": checks},
)  # fmt: skip


def with_judge(root: Path, rows: list[str]) -> None:
    for seed in SEEDS:
        for row in rows:
            entry = {"value": 0.5, "scores": [0.4, 0.6]}
            write(
                root / f"seed{seed}/evaluations/{row}/judge.json",
                {"sample_sha256": "s", "prompts": ["a", "b"], "metrics": {"g_eval": entry}},
            )


def columns(path: Path) -> list[str]:
    return path.read_text().split("\n", 1)[0].split(",")


def shown_in(page: str) -> list[str]:
    line = next(line for line in page.splitlines() if line.startswith("| pipeline"))
    return [title.strip() for title in line.strip("|").split("|")]


def told(root: Path) -> str:
    flags = ("--study", "test", "--results", root, "--table", root / "table.csv", "--seeds", 0)
    done = ask("summary", *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def with_entropy(root: Path, rows: list[str]) -> None:
    for number, row in enumerate(rows):
        edit(root / f"seed0/evaluations/{row}/fidelity.json", entropy=2 + 0.5 * number)


def test_every_column_has_one_card_and_every_card_a_column(tmp_path: Path) -> None:
    root = results_tree(tmp_path, SMALL, SEEDS)
    with_judge(root, SMALL)
    done = make(root, SMALL, "--judged", "--arms", f"all={','.join(SMALL)}", seeds=SEEDS)
    assert done.returncode == 0, done.stderr
    found = columns(root / "table.csv")
    parts = {"<text>": ["chat", "wiki"], "<task>": ["quiz"], "<judged>": ["g_eval"]}
    expected = [card.name for card in cards.CARDS if "<" not in card.name]
    for family, names in parts.items():
        its = [card.name for card in cards.CARDS if family in card.name]
        expected += [name.replace(family, part) for name in its for part in names]
    assert sorted(found) == sorted(expected)
    read_again = [cards.of_column(name) for name in found]
    assert [card.name for card in read_again if card] == found


def test_a_name_is_of_the_card_that_spells_out_most_of_it() -> None:
    card = cards.of_column("ppl_wiki_ratio_se")
    assert card is not None
    assert (card.name, card.part) == ("ppl_wiki_ratio_se", "wiki")
    assert cards.of_column("kl_sd") in cards.CARDS
    assert cards.of_column("g_eval_se") is not None
    assert cards.of_column("my_own_column") is None


def test_a_metric_is_one_card_and_one_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cards, "CARDS", (*cards.CARDS[:-1], TOY, cards.CARDS[-1]))
    root = results_tree(tmp_path, SMALL)
    with_entropy(root, SMALL)
    assert make(root, SMALL, "--changes", root / "changes.csv").returncode == 0
    stored = pd.read_csv(root / "table.csv", dtype=str).set_index("pipeline")
    assert list(stored["entropy"]) == ["2.000", "2.500", "3.000", "3.500", "4.000"]

    page = (root / "table.md").read_text()
    assert shown_in(page)[-1] == "entropy, mnats"
    row = next(line for line in page.splitlines() if line.startswith("| Q-P"))
    assert row.strip("| ").endswith("| 4000.0")
    listed = next(line for line in page.splitlines() if line.startswith("| `entropy`"))
    assert [cell.strip() for cell in listed.strip("|").split("|")[1:]] == ["nats", TOY.meaning]

    summary = told(root)
    assert "entropy_mnats" in summary
    assert "4000.0" in summary
    moved = pd.read_csv(root / "changes.csv", dtype=str, keep_default_na=False)
    line = moved[(moved["pipeline"] == "Q-P") & (moved["metric"] == "entropy")].iloc[0]
    its = line[["unit", "before_value", "value", "change", "change_se", "change_unit"]]
    assert list(its) == ["nats", "3.000", "4.000", "33.333", MISSING, "%"]


def test_a_card_brings_its_guard_and_its_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cards, "CARDS", (*cards.CARDS, TOY))
    root = results_tree(tmp_path, SMALL)
    with_entropy(root, SMALL)
    at = root / "seed0/evaluations/P/fidelity.json"
    edit(at, entropy=float("nan"))
    assert guards.findings(guards.load(root, SMALL, [0]))["P"] == ["entropy is not finite"]
    edit(at, entropy="much")
    with pytest.raises(HarnessError, match="entropy is 'much', not a number"):
        guards.load(root, SMALL, [0])
    results_tree(tmp_path, ["P"])
    with pytest.raises(HarnessError, match="'entropy' is in only one of P and base"):
        guards.load(root, SMALL, [0])


def test_a_study_from_before_the_metric_has_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Scored(
        "latency", "s", 3, "of a token", Shown("latency", 3),
        source=Number("latency.json", "latency"), cell=cells.mean,
    )  # fmt: skip
    monkeypatch.setattr(cards, "CARDS", (*cards.CARDS, TOY, elsewhere))
    root = results_tree(tmp_path, SMALL)
    assert make(root, SMALL).returncode == 0
    stored = pd.read_csv(root / "table.csv", keep_default_na=False)
    assert set(stored["entropy"]) == set(stored["latency"]) == {MISSING}
    assert "entropy, mnats" not in (root / "table.md").read_text()
    assert "latency" not in told(root)


def test_a_column_without_any_cell_is_hidden_from_readers_alone(tmp_path: Path) -> None:
    rows = ["base", "P", "KD", "P-KD"]
    root = results_tree(tmp_path, rows)
    assert make(root, rows).returncode == 0
    titles = shown_in((root / "table.md").read_text())
    assert titles == [
        "pipeline", "MiB", "ratio", "params, M", "ppl chat (x base)", "ppl wiki (x base)", "KL",
        "top-1", "quiz, %",
    ]  # fmt: skip
    assert {"q_before_p", "published_perplexity"} <= set(columns(root / "table.csv"))
    assert "Q_before_P" not in told(root)
    root = results_tree(tmp_path / "more", SMALL)
    assert make(root, SMALL).returncode == 0
    assert "Q before P" in shown_in((root / "table.md").read_text())
    assert "Q_before_P" in told(root)


def test_a_ratio_without_its_error_is_shown(tmp_path: Path) -> None:
    """A text of one unit has no standard error, which the cell says."""
    root = results_tree(tmp_path, SMALL)
    for row in SMALL:
        one = {"losses": [2.0], "counts": [9], "perplexity": float(np.exp(2.0))}
        edit(perplexity_file(root, row), "chat", **one)
    assert make(root, SMALL).returncode == 0
    assert "| 7.39 (1.000 ± n/a)" in (root / "table.md").read_text()


@pytest.mark.parametrize(
    ("row", "prunes", "trains"),
    [
        ("base", None, None),
        ("LPB25", None, None),
        ("LPB25-Q", False, None),
        ("Q-LPB25", True, None),
        ("Q-LPB25-FT", True, True),
        ("LPB25-FT-Q", False, False),
        ("LPB25-FT-Q-FT.qlora", False, True),
    ],
)
def test_kinds_of_stages_decide_not_their_names(
    row: str, prunes: bool | None, trains: bool | None
) -> None:
    asked = parse.read([ROOT / "studies/llm-compression.cpu.yaml"], ROOT)
    assert quantized_first.holds(row, quantized_first.PRUNING, asked.kinds) is prunes
    assert quantized_first.holds(row, quantized_first.TRAINING, asked.kinds) is trains


def test_every_row_with_both_stages_says_yes_or_no(tmp_path: Path) -> None:
    """Also where the row is refused, and where stages are not called P, KD and Q."""
    asked = parse.read([ROOT / "studies/llm-compression.cpu.yaml"], ROOT)
    rows = list(asked.plan.rows)
    refused = {"Q-LPB25": "refused for the sake of the test"}
    records = guards.load(results_tree(tmp_path, ["base"]), ["base"], [0])
    records |= {row: records["base"] for row in rows if row not in refused}
    made = table.build(rows, records, refused, None, asked.kinds, asked.plan.arms)
    cell = {str(row["pipeline"]): (row["q_before_p"], row["q_before_kd"]) for row in made.rows}
    both = [row for row in rows if "Q" in row.split("-") and ("LP" in row or "SG" in row)]
    assert len(both) >= 14
    assert {cell[row][0] for row in both} == {"yes", "no"}
    assert cell["Q-LPB25"][0] == "yes"
    assert cell["LPB25-FT-Q-FT.qlora"] == ("no", "yes")
    assert cell["LPB25-Q-FT"] == ("no", "yes")


def test_the_table_command_takes_kinds_from_the_study(tmp_path: Path) -> None:
    asked = parse.read([ROOT / "studies/llm-compression.cpu.yaml"], ROOT)
    flags = asked.row_flags()
    assert {"LPB25=prune", "FT=finetune", "Q=quantize"} <= set(flags[flags.index("--kinds") :])
    root, rows = results_tree(tmp_path, ["base"]), ["base", "X", "Y", "X-Y"]
    for number, row in enumerate(rows[1:], 1):
        add_row(root, row, 0, 0.1 * number)
    assert make(root, rows, "--kinds", "X=quantize", "Y=prune").returncode == 0
    stored = pd.read_csv(root / "table.csv", keep_default_na=False).set_index("pipeline")
    assert stored.loc["X-Y", "q_before_p"] == "yes"
    assert set(stored["q_before_kd"]) == {MISSING}


def test_changes_are_of_the_cards_with_a_comparison(tmp_path: Path) -> None:
    root = results_tree(tmp_path, ALL[:3])
    told = changes.build(ALL[:3], guards.load(root, ALL[:3], [0]), {})
    names = [its.metric.name for its in told if its.pipeline == "P"]
    assert names == ["size_mib", "ppl_chat", "ppl_wiki", "acc_quiz"]


def test_published_figures_and_notes_are_not_ours() -> None:
    remarks = {card.name for card in cards.CARDS if isinstance(card, Remark)}
    assert remarks == {"note"} | {c.name for c in cards.CARDS if c.name.startswith("published_")}
