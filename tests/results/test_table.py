"""The comparison table and the summary, on results trees of known content."""

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from results_tree import (
    ALL,
    FIGURES,
    SMALL,
    answers,
    ask,
    built,
    edit,
    make,
    perplexity,
    perplexity_file,
    process,
    results_tree,
    write,
)

from compression_order.common import writing
from compression_order.common.errors import HarnessError
from compression_order.results import guards, published, request, summary

# The table


def test_full_table_has_every_cell_filled_and_the_same_bytes_twice(tmp_path: Path) -> None:
    root = results_tree(tmp_path, [p for p in ALL if p != "Q-KD"])
    flags = ("--published", "arxiv-2511.19495", "--refused", "Q-KD=KD refuses the parent Q, so")
    assert make(root, ALL, *flags).returncode == 0
    first = (root / "table.csv").read_bytes(), (root / "table.md").read_bytes()
    assert make(root, ALL, *flags).returncode == 0
    assert first == ((root / "table.csv").read_bytes(), (root / "table.md").read_bytes())
    assert b"\r" not in first[0]
    lines = list(csv.reader(first[0].decode().splitlines()))
    assert [line[0] for line in lines[1:]] == ALL
    assert {len(line) for line in lines} == {len(lines[0])}
    assert all(cell for line in lines for cell in line)

    cells = pd.read_csv(root / "table.csv").set_index("pipeline")
    text = {"q_before_p", "q_before_kd", "note"}
    assert all(pd.api.types.is_numeric_dtype(cells[c]) for c in cells.columns if c not in text)
    assert cells.loc["Q-KD", "note"] == "refused: KD refuses the parent Q, so"
    assert pd.isna(cells.loc["Q-KD", "ppl_wiki"])
    assert cells.loc["base", "note"] == "ok"
    assert cells.loc["base", "ppl_wiki_ratio"] == 1
    assert cells.loc["Q", "compression_ratio"] == 4
    assert cells.loc["Q", "size_mib"] == 250
    assert list(cells.loc["Q-KD-P", ["q_before_p", "q_before_kd"]]) == ["yes", "yes"]
    assert list(cells.loc["P-Q-KD", ["q_before_p", "q_before_kd"]]) == ["no", "yes"]
    assert cells.loc["KD-Q-P", "published_perplexity"] == 53.37
    assert cells.loc["base", "published_size_mib"] == 5900
    assert pd.isna(cells.loc["P-KD", "published_perplexity"])
    assert not [name for name in cells.columns if name.endswith("_sd")]

    page = first[1].decode()
    assert "KL(base \\|\\| row)" in page  # a bare bar would end the cell
    assert "scientific variable" in page
    assert "One seed (0)" in page
    assert "`Q-KD`: refused: KD refuses the parent Q" in page
    assert "- `P`: a-method; ratio 0.25, recovery.lr 0.0001" in page


def test_ratio_and_its_error_are_paired_over_units(tmp_path: Path) -> None:
    row = built(results_tree(tmp_path, SMALL), SMALL)["P"]
    ours, base = (json.loads(perplexity_file(tmp_path, p).read_text()) for p in ("P", "base"))
    chat = np.subtract(ours["chat"]["losses"], base["chat"]["losses"])
    assert row["ppl_chat_ratio"] == pytest.approx(np.exp(chat.mean()))
    error = np.exp(chat.mean()) * chat.std(ddof=1) / 60**0.5
    assert row["ppl_chat_ratio_se"] == pytest.approx(error)
    wiki = np.subtract(ours["wiki"]["losses"], base["wiki"]["losses"])
    weighted = np.average(wiki, weights=[511] * 59 + [100])
    assert row["ppl_wiki_ratio"] == pytest.approx(np.exp(weighted))
    assert row["acc_quiz_se"] == pytest.approx(answers(49, 100)["stderr"])


def test_three_seeds_give_means_and_sd_columns(tmp_path: Path) -> None:
    seeds = (0, 1, 2)
    root = results_tree(tmp_path, SMALL, seeds)
    assert make(root, SMALL, seeds=seeds).returncode == 0
    cells = pd.read_csv(root / "table.csv").set_index("pipeline")
    spread = {name for name in cells.columns if name.endswith("_sd")}
    assert spread == {"ppl_chat_sd", "ppl_wiki_sd", "kl_sd", "acc_quiz_sd"}
    files = [json.loads(perplexity_file(root, "P", seed).read_text()) for seed in seeds]
    values = [content["wiki"]["perplexity"] for content in files]
    assert cells.loc["P", "ppl_wiki"] == pytest.approx(np.mean(values), abs=1e-4)
    assert cells.loc["P", "ppl_wiki_sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-4)
    assert cells.loc["base", "ppl_wiki_sd"] == 0
    assert "Means over the seeds 0, 1, 2" in (root / "table.md").read_text()


def test_base_needs_no_fidelity_file(tmp_path: Path) -> None:
    root = results_tree(tmp_path, SMALL)
    (root / "seed0/evaluations/base/fidelity.json").unlink()
    base = built(root, SMALL)["base"]
    assert (base["kl"], base["top1"]) == (0, 1)
    edit(root / "seed0/evaluations/P/fidelity.json", sample_sha256="another")
    with pytest.raises(HarnessError, match=r"another but P|but P was scored on another"):
        guards.load(root, SMALL, [0])


def test_cells_have_fixed_decimals_and_no_negative_zero() -> None:
    assert writing.show(-1e-9, 5) == "0.00000"
    assert writing.show(1234.5, 0) == "1234"
    assert writing.show(float("nan"), 2) == "n/a"
    assert writing.show(None, 2) == "n/a"
    assert writing.show("yes", None) == "yes"


# What cannot enter


@pytest.mark.parametrize(
    ("name", "keys"),
    [("perplexity.json", ["wiki"]), ("lm_eval.json", ["quiz"]), ("fidelity.json", [])],
)
def test_another_sample_cannot_enter(tmp_path: Path, name: str, keys: list[str]) -> None:
    root = results_tree(tmp_path, SMALL)
    path = root / "seed0/evaluations/P-Q" / name
    edit(path, *keys, sample_sha256="another")
    done = make(root, SMALL)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    for word in (str(path), "another", "sample-", "base", "delete the file and run again"):
        assert word in done.stderr
    assert not (root / "table.csv").exists()
    assert not (root / "table.md").exists()


@pytest.mark.parametrize("name", ["perplexity.json", "fidelity.json", "lm_eval.json", "size.json"])
def test_missing_file_is_one_sentence(tmp_path: Path, name: str) -> None:
    root = results_tree(tmp_path, SMALL)
    path = root / "seed0/evaluations/Q" / name
    path.unlink()
    with pytest.raises(HarnessError, match="does not exist") as fault:
        guards.load(root, SMALL, [0])
    assert str(path) in str(fault.value)


@pytest.mark.parametrize(
    ("file", "keys", "changes", "words"),
    [
        ("checkpoints/P/checkpoint.json", [], {"seed": 3}, "seed is 3"),
        ("checkpoints/P/checkpoint.json", [], {"pipeline": "Q"}, "pipeline is 'Q'"),
        ("checkpoints/P/checkpoint.json", ["bytes"], {"model": 7}, "the checkpoint says 7"),
        ("evaluations/P/size.json", [], {"bytes": float("nan")}, "bytes is nan"),
        ("evaluations/P/size.json", [], {"parameters": "many"}, "parameters is 'many'"),
        ("evaluations/P/perplexity.json", ["wiki"], {"perplexity": 1.0}, "stored parts give"),
        ("evaluations/P/perplexity.json", ["wiki"], {"losses": [1.0]}, "1 losses and 60 counts"),
        ("evaluations/P/perplexity.json", ["wiki"], {"losses": ["x"]}, "not a list of numbers"),
        ("evaluations/P/perplexity.json", ["wiki"], {"protocol": "strides"}, "'strides'"),
        ("evaluations/P/perplexity.json", [], {"more": {}}, "no 'protocol' of 'more'"),
        ("evaluations/P/lm_eval.json", ["quiz"], {"value": 0.99}, "value of 'quiz' is 0.99"),
        ("evaluations/P/lm_eval.json", ["quiz"], {"samples": 5}, "5 samples, 100 answers"),
        ("evaluations/base/perplexity.json", ["wiki"], {"perplexity": float("nan")}, "for base"),
    ],
)
def test_broken_input_is_one_sentence(
    tmp_path: Path, file: str, keys: list[str], changes: dict[str, Any], words: str
) -> None:
    root = results_tree(tmp_path, SMALL)
    edit(root / "seed0" / file, *keys, **changes)
    with pytest.raises(HarnessError) as fault:
        guards.load(root, SMALL, [0])
    assert words in str(fault.value)
    assert str(root / "seed0") in str(fault.value)
    assert file.split("/")[1] in str(fault.value)


def test_a_text_that_base_lacks_is_refused(tmp_path: Path) -> None:
    root = results_tree(tmp_path, SMALL)
    edit(perplexity_file(root, "P"), more=perplexity("windows", [1.0], [5]))
    with pytest.raises(HarnessError, match="'more' is in only one of P and base"):
        guards.load(root, SMALL, [0])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--refused", "Q-P"], "has no name, `=` and value"),
        (["--refused", "X=why"], "'X' is not a row"),
        (["--published", "nobody"], "no study 'nobody'"),
        (["--rows", "P", "Q"], "lack `base`"),
        (["--rows", "base", "P", "P"], "twice"),
        (["--seeds", "0", "0"], "twice"),
    ],
)
def test_bad_flags_are_one_sentence(tmp_path: Path, flags: list[str], words: str) -> None:
    done = make(results_tree(tmp_path, SMALL), SMALL, *flags)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


# Guards


def test_non_finite_perplexity_is_named_and_not_averaged(tmp_path: Path) -> None:
    root = results_tree(tmp_path, SMALL, (0, 1))
    nan = [float("nan")] * 60
    edit(perplexity_file(root, "Q-P", 1), "wiki", losses=nan, perplexity=float("nan"))
    row = built(root, SMALL, (0, 1))["Q-P"]
    assert writing.show(row["ppl_wiki"], 4) == writing.show(row["ppl_wiki_ratio"], 4) == "n/a"
    assert row["note"] == "ppl_wiki is not finite (seed 1)"


def test_an_overflowing_perplexity_is_named(tmp_path: Path) -> None:
    root = results_tree(tmp_path, SMALL)
    edit(perplexity_file(root, "Q-P"), "chat", losses=[800.0] * 60, perplexity=float("inf"))
    row = built(root, SMALL)["Q-P"]
    assert writing.show(row["ppl_chat_ratio"], 4) == "n/a"
    assert "ppl_chat is not finite" in str(row["note"])


def test_accuracy_below_chance_is_named_only_beyond_its_interval(tmp_path: Path) -> None:
    root = results_tree(tmp_path, SMALL)
    write(root / "seed0/evaluations/P/lm_eval.json", {"quiz": answers(5, 100)})
    write(root / "seed0/evaluations/Q/lm_eval.json", {"quiz": answers(22, 100)})
    rows = built(root, SMALL)
    assert rows["P"]["note"] == ("acc_quiz 0.050 is below chance 0.250 beyond its 95% interval")
    assert rows["Q"]["note"] == "ok"


@pytest.mark.parametrize(
    ("same", "samples", "found"), [(99, 100, True), (98, 100, False), (19, 19, False)]
)
def test_one_answer_for_all_is_named(tmp_path: Path, same: int, samples: int, found: bool) -> None:
    root = results_tree(tmp_path, ["base"])
    choice = [2] * same + [1] * (samples - same)
    task = answers(samples // 2, samples, choice)
    write(root / "seed0/evaluations/base/lm_eval.json", {"quiz": task})
    note = str(built(root, ["base"])["base"]["note"])
    assert note == (f"acc_quiz: one answer for 99.0% of {samples} questions" if found else "ok")


def test_constant_multiple_of_another_row_is_named_in_both(tmp_path: Path) -> None:
    root = results_tree(tmp_path, SMALL)
    copied = json.loads(perplexity_file(root, "P").read_text())
    for entry in copied.values():
        entry["losses"] = [loss + np.log(1.4) for loss in entry["losses"]]
        entry["perplexity"] *= 1.4
    write(perplexity_file(root, "P-Q"), copied)
    rows = built(root, SMALL)
    assert rows["P-Q"]["note"] == "every perplexity is 1.400000 times that of P"
    assert rows["P"]["note"] == "every perplexity is 0.714286 times that of P-Q"
    assert rows["Q"]["note"] == "ok"


# Published figures


def test_published_copy_is_the_one_its_readme_names() -> None:
    digest = hashlib.sha256(FIGURES.read_bytes()).hexdigest()
    assert digest in (FIGURES.parent / "README.md").read_text()


def test_untrusted_figures_never_leave() -> None:
    with FIGURES.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    for study in {line["study"] for line in lines}:
        figures = published.read(FIGURES, study)
        for line in lines:
            bad = line["trust"] not in published.USABLE
            if bad and line["study"] == study:
                assert figures.value(line["pipeline"], line["metric"]) is None
    workout = published.read(FIGURES, "llm-workout-plan")
    assert workout.value("P", "size") is None  # printed as 2.6 GiB, but invalid
    assert workout.value("base", "size") == pytest.approx(5.8 * 1024)


@pytest.mark.parametrize("trust", ["invalid", "extrapolated", "no-op", "not applicable"])
def test_the_trust_flag_alone_decides(tmp_path: Path, trust: str) -> None:
    root = results_tree(tmp_path, SMALL)
    changed = root / "published.csv"
    lines = FIGURES.read_text().splitlines(keepends=True)
    flipped = [
        line.replace(",reported,", f",{trust},") if ",P," in line else line for line in lines
    ]
    changed.write_text("".join(flipped))
    flags = ("--published", "arxiv-2511.19495", "--published-csv", changed)
    assert make(root, SMALL, *flags).returncode == 0
    cells = pd.read_csv(root / "table.csv").set_index("pipeline")
    shown = [name for name in cells.columns if name.startswith("published_")]
    assert cells.loc["P", shown].isna().all()
    assert cells.loc["Q", shown].notna().all()
    assert "5.09" not in (root / "table.md").read_text()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("s,P,m,size,1.0,furlong,reported,", "unknown size unit 'furlong'"),
        ("s,P,m,size,big,GiB,reported,", "value 'big' is not a number"),
        ("s,P,m,size,1.0,GiB,maybe,", "unknown trust 'maybe'"),
        ("s,P,m,size,1.0,GiB,reported,\ns,P,n,size,2.0,GiB,reported,", "a second usable size"),
    ],
)
def test_broken_published_file_is_one_sentence(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "published.csv"
    path.write_text(f"{','.join(published.COLUMNS)}\n{line}\n")
    with pytest.raises(HarnessError, match=words):
        published.read(path, "s")


# The summary


def told(root: Path, rows: Sequence[str], study: str | None = "arxiv-2511.19495") -> list[str]:
    flags = ["--published", study] if study else []
    assert make(root, rows, *flags).returncode == 0
    done = ask(
        "summary", "--study", "test", "--results", root, "--table", root / "table.csv",
        "--seeds", 0, *flags,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert max(len(line) for line in done.stdout.splitlines()[:-4]) <= summary.WIDTH
    return done.stdout.splitlines()


def test_summary_of_a_split_study(tmp_path: Path) -> None:
    lines = told(results_tree(tmp_path, ALL, noise=0.01), ALL)
    assert lines[-4].startswith("Best order at full compression: P-KD-Q; the second best, P-Q-KD")
    assert lines[-4].endswith("documents): separable at 95% among 15 pairs.")
    assert "(Q-KD-P over P-KD-Q; log ratio 1.8" in lines[-3]
    assert "appears by a factor of" in lines[-2]
    assert "published: 4.30x" in lines[-2]  # 24.07 / 5.60
    assert lines[-1] == (
        "Process start, imports and loading: 15.0% of 160 process seconds in 16 processes."
    )


def test_both_scripts_run_as_processes(tmp_path: Path) -> None:
    root = results_tree(tmp_path, SMALL)
    shared = ("--study", "test", "--results", root, "--seeds", 0)
    files = ("--csv", root / "table.csv", "--markdown", root / "table.md")
    done = process("src/table.py", *shared, *files, "--rows", *SMALL)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{root}/table.csv: 5 rows, 23 columns\n"
    shown = ("-m", "compression_order.commands", "summary", *shared)
    done = process(*shown, "--table", root / "table.csv")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_a_summary_needs_the_table(tmp_path: Path) -> None:
    root = results_tree(tmp_path, SMALL)
    flags = ("--study", "test", "--results", root, "--seeds", 0, "--table", root / "none.csv")
    done = ask("summary", *flags)
    assert done.returncode == 1
    assert done.stderr == f"error: {root}/none.csv does not exist; run `make table` first\n"


def scored(losses: dict[str, list[float]]) -> summary.Ranking:
    arrays = {name: np.array([values]) for name, values in losses.items()}
    names = sorted(arrays, key=lambda name: arrays[name].mean())
    return summary.Ranking("chat", "4 documents", tuple(names), arrays, np.ones(4))


@pytest.mark.parametrize(
    ("late", "early", "words"),
    [
        ([2.0, 2.1, 2.0, 2.1], [4.0, 4.2, 4.1, 4.0], "appears by a factor of 7"),
        ([2.0, 2.1, 2.0, 2.1], [2.2, 2.3, 2.2, 2.4], "does not appear as a collapse"),
        ([2.0, 2.1, 2.0, 2.1], [1.0, 5.0, 1.0, 5.0], "not separable"),
        ([2.0, 2.1, 2.0, 2.1], [1.0, 1.1, 1.2, 1.0], "does not appear, the two groups overlap"),
    ],
)
def test_the_split_is_worded_honestly(late: list[float], early: list[float], words: str) -> None:
    figures = published.read(FIGURES, "arxiv-2511.19495")
    q_first = {"P-Q": False, "Q-P": True}
    assert words in summary.split(scored({"P-Q": late, "Q-P": early}), q_first, figures)


def test_the_summary_counts_seeds_as_the_findings_do() -> None:
    """Two orders far apart on text, but no further than their seeds are."""
    rng = np.random.default_rng(0)
    one = 2 + rng.normal(0, 0.01, (3, 40))
    other = one + 0.1 + np.array([[0.4], [-0.4], [0.0]])
    orders = summary.Ranking(
        "chat", "40 documents", ("P-Q", "Q-P"), {"P-Q": one, "Q-P": other}, np.ones(40)
    )
    assert orders.z("Q-P", "P-Q") > 10
    assert "): not separable at 95% among 1 pair" in summary.best(orders)


def test_summary_of_studies_that_cannot_tell(tmp_path: Path) -> None:
    lines = told(results_tree(tmp_path, ["base", "P", "KD", "P-KD"]), ["base", "P", "KD", "P-KD"])
    assert all("not testable in this study" in line for line in lines[-4:-1])


def test_orders_that_cannot_be_compared_are_named(tmp_path: Path) -> None:
    root = results_tree(tmp_path, ALL)
    nan = [float("nan")] * 60
    edit(perplexity_file(root, "KD-Q-P"), "chat", losses=nan, perplexity=float("nan"))
    lines = told(root, ALL)
    assert "note: KD-Q-P: ppl_chat is not finite" in lines
    assert lines[-4].endswith("; not compared, see the notes: KD-Q-P.")


def test_summary_without_published_figures_and_with_a_note(tmp_path: Path) -> None:
    root = results_tree(tmp_path, SMALL)
    write(root / "seed0/evaluations/P/lm_eval.json", {"quiz": answers(5, 100)})
    lines = told(root, SMALL, None)
    assert any(line.startswith("note: P: acc_quiz 0.050 is below chance") for line in lines)
    assert "published: n/a" in lines[-2]


def test_repeated_stages_are_not_full_orders() -> None:
    assert summary.permutations_of_all(["base", "P-Q", "Q-P", "Q-P-Q"]) == ["P-Q", "Q-P"]


def test_control_arms_leave_the_full_orders_what_they_are() -> None:
    rows = [*ALL, "P.bare", "P.bare-Q", "Q-P.bare", "KD.ce"]
    full = [row for row in ALL if row.count("-") == 2]
    assert summary.permutations_of_all(rows) == full


def test_a_pair_has_a_name_and_a_value() -> None:
    assert request.pairs("--refused", ["A=b=c"]) == {"A": "b=c"}
