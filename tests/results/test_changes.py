"""What each stage changed: the numbers by hand, the file, the grid, the refusals."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
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

from compression_order.common.writing import MISSING
from compression_order.results import change_grids, changes, guards

STUDY = "studies/smoke.yaml"


def lines(root: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (root / "changes.csv").open(newline="") as stream:
        return {(line["pipeline"], line["metric"]): line for line in csv.DictReader(stream)}


def by_hand(root: Path) -> Path:
    """Base, P and P-Q with two documents, two windows, four questions and round numbers."""
    for pipeline, losses, right, size in (
        ("base", (1.0, 2.0), (1, 1, 0, 0), 400),
        ("P", (1.5, 2.1), (1, 0, 0, 0), 300),
        ("P-Q", (1.5, 2.3), (1, 1, 1, 0), 75),
    ):
        add_row(root, pipeline, 0, 0.0)
        at = root / "seed0" / "evaluations" / pipeline
        texts = {}
        for text, protocol, counts in (
            ("chat", "documents", (10, 90)),
            ("wiki", "windows", (1, 3)),
        ):
            weights = counts if protocol == "windows" else (1, 1)
            texts[text] = {
                "protocol": protocol,
                "sample_sha256": f"sample-{text}",
                "losses": losses,
                "counts": counts,
                "perplexity": float(np.exp(np.average(losses, weights=weights))),
            }
        write(at / "perplexity.json", texts)
        quiz = {"value": sum(right) / 4, "samples": 4, "chance": 0.25, "sample_sha256": "quiz"}
        write(at / "lm_eval.json", {"quiz": {**quiz, "correct": right, "choice": [0, 1, 2, 3]}})
        write(at / "size.json", {"bytes": size * 2**20, "parameters": 1})
        if pipeline != "base":
            manifest = root / "seed0" / "checkpoints" / pipeline / "checkpoint.json"
            edit(manifest, "bytes", model=size * 2**20)
    return root


def test_the_numbers_by_hand(tmp_path: Path) -> None:
    rows = ["base", "P", "P-Q"]
    made = changes.build(rows, guards.load(by_hand(tmp_path), rows, [0]), {})
    found = {(c.pipeline, c.metric.name): c for c in made}
    assert list(found) == [
        (p, m) for p in ("P", "P-Q") for m in ("size_mib", "ppl_chat", "ppl_wiki", "acc_quiz")
    ]

    size = found["P-Q", "size_mib"]
    assert (size.before, size.value, size.change) == (300, 75, -75)
    assert size.se is not None and np.isnan(size.se)

    # differences of the two documents: 0.5 and 0.1; mean 0.3, standard error 0.2
    chat = found["P", "ppl_chat"]
    factor = np.exp(0.3)
    assert chat.before == pytest.approx(np.exp(1.5))
    assert chat.change == pytest.approx(100 * (factor - 1))
    assert chat.se == pytest.approx(100 * factor * 0.2)
    # windows of 1 and 3 tokens: mean (0.5 + 3 x 0.1) / 4 = 0.2,
    # error sqrt(2 x ((0.5 - 0.2)^2 + (3 x (0.1 - 0.2))^2)) / 4 = 0.15
    wiki = found["P", "ppl_wiki"]
    assert wiki.change == pytest.approx(100 * (np.exp(0.2) - 1))
    assert wiki.se == pytest.approx(100 * np.exp(0.2) * 0.15)
    # against the parent, not base: 0 and 0.2 nats
    assert found["P-Q", "ppl_chat"].change == pytest.approx(100 * (np.exp(0.1) - 1))

    # answers change by 0, 1, 1, 0 of four: half of them, standard deviation 1 / sqrt(3)
    quiz = found["P-Q", "acc_quiz"]
    assert (quiz.before, quiz.value, quiz.change) == (25, 75, 50)
    assert quiz.se == pytest.approx(100 / 3**0.5 / 2)
    assert found["P", "acc_quiz"].change == -25


def test_the_file_has_a_line_a_pipeline_and_metric_and_the_same_bytes_twice(tmp_path: Path) -> None:
    root = by_hand(tmp_path)
    rows = ["base", "P", "P-Q", "Q", "Q-P"]
    flags = ["--changes", root / "changes.csv", "--refused", 'Q=no, "never"', "Q-P=no"]
    assert make(root, rows, *flags).returncode == 0
    first = (root / "changes.csv").read_bytes()
    assert make(root, rows, *flags).returncode == 0
    assert (root / "changes.csv").read_bytes() == first
    assert b"\r" not in first
    found = lines(root)
    assert len(found) == 4 * 4
    assert all(cell for line in found.values() for cell in line.values())
    assert found["P-Q", "size_mib"] == {
        "pipeline": "P-Q", "before": "P", "added": "Q", "metric": "size_mib", "unit": "MiB",
        "before_value": "300.00", "value": "75.00", "change": "-75.000", "change_se": MISSING,
        "change_unit": "%", "note": "ok",
    }  # fmt: skip
    assert found["P-Q", "acc_quiz"]["change_unit"] == "points"
    refused = found["Q-P", "ppl_chat"]
    assert refused["change"] == refused["value"] == MISSING
    assert refused["note"] == "refused: no"
    assert found["Q", "acc_quiz"]["note"] == 'refused: no, "never"'


def test_a_change_averages_over_seeds_and_tells_what_is_not_finite(tmp_path: Path) -> None:
    root = results_tree(tmp_path, SMALL, seeds=(0, 1))
    edit(perplexity_file(root, "Q", 1), "wiki", perplexity=float("inf"), losses=[1e4] * 60)
    made = changes.build(SMALL, guards.load(root, SMALL, [0, 1]), {})
    found = {(c.pipeline, c.metric.name): c for c in made}
    ratios = [
        json.loads(perplexity_file(root, "P-Q", seed).read_text())["chat"]["perplexity"]
        / json.loads(perplexity_file(root, "P", seed).read_text())["chat"]["perplexity"]
        for seed in (0, 1)
    ]
    assert found["P-Q", "ppl_chat"].change == pytest.approx(100 * (np.mean(ratios) - 1))
    for pipeline in ("Q", "Q-P"):
        assert found[pipeline, "ppl_wiki"].note == "ppl_wiki of Q is not finite"
        assert found[pipeline, "ppl_wiki"].change is None
    assert found["Q", "ppl_chat"].note == "ok"


def printed(root: Path, *flags: object) -> str:
    done = ask("changes", "--study", STUDY, "--csv", root / "changes.csv", *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_grid_has_sequences_as_lines_and_stages_as_columns(tmp_path: Path) -> None:
    root = results_tree(tmp_path, ALL)
    assert make(root, ALL, "--changes", root / "changes.csv").returncode == 0
    found = lines(root)
    text = printed(root, "--metric", "ppl_wiki", "--metric", "size_mib")
    assert "smoke: size_mib, change in percent; base 1000.00 MiB" in text
    assert "smoke: ppl_wiki, change in percent; base " in text
    assert "acc_quiz" not in text
    block = text.split("smoke: ppl_wiki")[1].splitlines()
    assert block[2].split() == ["before", "+", "P", "+", "KD", "+", "Q"]
    before = {line.split()[0]: line for line in block[3:] if line}
    line = found["P-Q", "ppl_wiki"]
    told = f"{float(line['change']):+.1f} ± {float(line['change_se']):.1f}"
    assert before["P"].endswith(told)
    assert before["P"].split()[1] == "-"  # no P after P in this study
    assert list(before)[:10] == ["base", *ALL[1:10]]
    # sizes have no error
    assert "-75.0 ±" not in text and "-75.0" in text


def test_variants_have_columns_of_their_own_where_one_would_hold_two_cells() -> None:
    line = {"change": "1.000", "change_se": "n/a"}
    rows = ["base", "A", "A.x", "A-B", "A.x-B"]
    stored = {(row, "m"): line for row in rows}
    assert change_grids.grid(stored, "m", rows, ["A", "A.x", "B"]) == [
        ["before", "+ A", "+ A.x", "+ B"],
        ["base", "+1.0", "+1.0", "-"],
        ["A", "-", "-", "+1.0"],
        ["A.x", "-", "-", "+1.0"],
    ]
    assert change_grids.grid(stored, "m", ["base", "A.x", "A.x-B"], ["A", "A.x", "B"]) == [
        ["before", "+ A", "+ B"],
        ["base", "+1.0", "-"],
        ["A", "-", "+1.0"],
    ]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "does not exist; run `make table STUDY=studies/smoke.yaml`"),
        (lambda path: path.write_text(path.read_text()[:-9]), "is not whole; delete it"),
        (lambda path: path.write_text(path.read_text().replace("added", "last")), "the columns"),
        (lambda path: path.write_text(path.read_text().replace("KD-Q-P", "KD-Q-X")), "KD-Q-P is"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_the_studys_is_one_sentence(damage, words, tmp_path: Path) -> None:
    root = results_tree(tmp_path, ALL)
    assert make(root, ALL, "--changes", root / "changes.csv").returncode == 0
    damage(root / "changes.csv")
    done = ask("changes", "--study", STUDY, "--csv", root / "changes.csv")
    assert done.returncode == 1
    assert words in done.stderr


def test_a_metric_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    root = results_tree(tmp_path, ALL)
    assert make(root, ALL, "--changes", root / "changes.csv").returncode == 0
    flags = ["--study", STUDY, "--csv", root / "changes.csv", "--metric", "ppl_none"]
    done = ask("changes", *flags)
    assert done.returncode == 1
    assert "has no 'ppl_none'; use one of size_mib, ppl_chat, ppl_wiki, acc_quiz" in done.stderr
