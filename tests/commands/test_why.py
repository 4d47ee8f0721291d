"""Where a cell comes from: value, formula, chain, refusals, page."""

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from lab import ROOT
from results_tree import ALL, ask, edit, make, perplexity_file, results_tree

from compression_order.common import files
from compression_order.results import provenance

STUDY = ROOT / "studies/smoke.yaml"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A finished run, not yet a table."""
    return results_tree(tmp_path / "results", ALL)


def why(tree: Path, *words: object, study: Path = STUDY) -> str:
    """What the command prints; the lines of one fact joined."""
    done = ask("why", *words, "--study", study, "--results", tree)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


def refused(tree: Path, *words: object, study: Path = STUDY) -> str:
    done = ask("why", *words, "--study", study, "--results", tree)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def close(told: str, name: str, value: float) -> bool:
    """Whether a fact is a number, at full precision."""
    found = re.search(rf" {name} ([0-9.]+)", told)
    return found is not None and math.isclose(float(found[1]), value, rel_tol=1e-12)


def manifest(tree: Path, pipeline: str, seed: int = 0) -> Path:
    return tree / f"seed{seed}/checkpoints/{pipeline}/checkpoint.json"


def losses(tree: Path, pipeline: str, seed: int = 0) -> np.ndarray:
    return np.array(json.loads(perplexity_file(tree, pipeline, seed).read_text())["chat"]["losses"])


def changed(folder: Path, **changes: object) -> Path:
    """The study of the tests with other values."""
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(STUDY.read_text()) | changes))
    return path


def test_value_formula_file_and_sample(tree: Path) -> None:
    told = why(tree, "P-Q", "ppl_chat")
    value = math.exp(losses(tree, "P-Q").mean())
    assert close(told, "value", value)
    assert "in table.csv there is none yet" in told
    assert "formula exp(mean loss over 60 documents) notes" in told
    assert f"file {perplexity_file(tree, 'P-Q')} score" in told
    assert "sample sample-documents (60 documents, bf16)" in told
    assert "exp(mean loss over 60 windows, weighted by tokens)" in why(tree, "P-Q", "ppl_wiki")


def test_a_ratio_with_its_error_and_both_files(tree: Path) -> None:
    apart = losses(tree, "P") - losses(tree, "base")
    value = math.exp(apart.mean())
    told = why(tree, "P", "ppl_chat_ratio")
    assert close(told, "value", value)
    assert close(told, "standard error", value * apart.std(ddof=1) / len(apart) ** 0.5)
    assert "exp(mean over 60 documents of loss of this row - loss of base)" in told
    assert all(f"file {perplexity_file(tree, row)} score" in told for row in ("P", "base"))


def test_the_cell_as_the_table_has_it(tree: Path) -> None:
    assert make(tree, ALL).returncode == 0
    header, *lines = csv.reader((tree / "table.csv").read_text().splitlines())
    stored = {line[0]: dict(zip(header, line, strict=True)) for line in lines}
    for column in ("kl", "ppl_chat", "size_mib", "note"):
        assert f"in table.csv {stored['P-Q'][column]} value" in why(tree, "P-Q", column)


def test_another_table_is_refused(tree: Path) -> None:
    make(tree, ALL)
    edit(tree / "seed0/evaluations/P/fidelity.json", kl=3.0)
    assert "kl of P is" in refused(tree, "P-Q", "ppl_chat")


def test_each_seed_has_its_file_and_one_its_chain(tmp_path: Path) -> None:
    tree = results_tree(tmp_path / "results", ALL, seeds=(0, 1))
    study = changed(tmp_path, seeds=[0, 1])
    told = why(tree, "P", "ppl_chat", study=study)
    assert "exp(mean loss over 60 documents), mean of 2 seeds" in told
    assert "sd over seeds" in told
    assert all(f"file {perplexity_file(tree, 'P', seed)}" in told for seed in (0, 1))
    assert f"manifest {manifest(tree, 'P')}" in told
    assert str(manifest(tree, "P", 1)) not in told
    one = why(tree, "P", "ppl_chat", "--seed", 1, study=study)
    assert f"manifest {manifest(tree, 'P', 1)}" in one
    assert "seed0" not in one
    assert "no seed 2; use one of 0, 1" in refused(tree, "P", "kl", "--seed", 2, study=study)


def linked(tree: Path) -> None:
    """Manifests as stages write them: base, then P by magnitude, then P-KD by distillation."""
    base = manifest(tree, "base")
    files.write_json(base, {"pipeline": "base", "seed": 0, "method": "base", "settings": {}})
    settings = {"sparsity": 0.25, "recovery": {"steps": 0}, "on_quantized": "requantize"}
    edit(manifest(tree, "P"), method="magnitude", parent=files.sha256(base), settings=settings)
    parent = files.sha256(manifest(tree, "P"))
    weights = {"model.safetensors": "0123abcd"}
    edit(manifest(tree, "P-KD"), method="logits", parent=parent, files=weights, settings={})


def test_the_chain_back_to_base(tree: Path) -> None:
    linked(tree)
    told = why(tree, "P-KD", "kl")
    assert told.index("P-KD = KD after P (seed 0)") < told.index("P = P after base (seed 0)")
    assert told.index("P = P after base (seed 0)") < told.index("base (seed 0) manifest")
    assert f"parent {files.sha256(manifest(tree, 'P'))}, the manifest of P " in told
    assert "method magnitude (prune)" in told
    assert (
        "unlike the defaults of magnitude: on_quantized requantize, sparsity 0.25 (default 0.5)"
        in told
    )
    assert "unlike the defaults of logits: none" in told
    assert "methods/magnitude/run.py does Magnitude pruning: the weights of smallest" in told
    assert "paper Han et al. 2015, section 3 (arXiv 1506.02626)" in told
    assert "paper Hinton et al. 2015, sections 2 and 2.1 (arXiv 1503.02531)" in told


def test_a_method_that_comes_twice_is_held_against_its_first_time(tree: Path) -> None:
    for row, ratio in (("P", 0.25), ("P-Q", 0.5)):
        edit(manifest(tree, row), method="magnitude", settings={"sparsity": ratio})
    chain = provenance.chain(tree, "P-Q", 0)
    assert chain[0].against == "those of P"
    assert chain[0].settings == ("sparsity 0.5 (P: 0.25)",)


def test_a_parent_that_was_made_again(tree: Path) -> None:
    linked(tree)
    edit(manifest(tree, "P"), format="dense")
    assert "NOT the manifest of P that lies here" in why(tree, "P-KD", "kl")


def test_weights_there_gone_and_of_another_size(tree: Path) -> None:
    linked(tree)
    told = why(tree, "P-KD", "kl")
    weights = manifest(tree, "P-KD").with_name("model.safetensors")
    assert "model.safetensors 0123abcd on disk" in told
    assert f"no {weights} (a record holds no weights)" in told
    weights.write_bytes(b"four")
    assert f"{weights}, 4 bytes, NOT the 1048576000 that are recorded" in why(tree, "P-KD", "kl")


def test_a_method_of_another_checkout(tree: Path) -> None:
    told = why(tree, "P", "kl")
    assert "settings ratio 0.25, recovery.lr 0.0001 (all: this checkout has no such method)" in told
    assert "source none: this checkout has no method a-method" in told
    assert "parent not recorded" in told


@pytest.mark.parametrize("method", ["awq", "llm-pruner", "shortgpt", "sparsegpt", "wanda", "gptq"])
def test_papers_come_from_the_sources(method: str) -> None:
    path = provenance.source(method)
    assert path is not None
    paper = provenance.about(path)[1]
    assert paper is not None
    assert paper.endswith(")")
    assert "et al. 20" in paper or "Alistarh 20" in paper


def test_only_notes_that_concern_the_cell(tree: Path) -> None:
    entry = json.loads((tree / "seed0/evaluations/P/lm_eval.json").read_text())["quiz"]
    edit(tree / "seed0/evaluations/P/lm_eval.json", "quiz", choice=[1] * len(entry["choice"]))
    assert "notes acc_quiz: one answer for 100.0% of 100 questions" in why(tree, "P", "acc_quiz")
    assert "acc_quiz: one answer" in why(tree, "P", "acc_quiz_se")
    assert "notes none" in why(tree, "P", "ppl_chat")


def test_a_published_column_with_its_trust(tree: Path) -> None:
    told = why(tree, "P-KD-Q", "published_perplexity")
    assert "value 5.05" in told
    assert "file published/published.csv" in told
    assert "arxiv-2511.19495,P-KD-Q,Qwen2.5-3B,perplexity,5.05" in told
    assert "trust reported (used)" in told
    assert "none: arxiv-2511.19495 has no size of KD-Q" in why(tree, "KD-Q", "published_size_mib")


@pytest.mark.parametrize(
    "column", ["stages", "q_before_p", "note", "parameters", "top1", "size_mib"]
)
def test_every_kind_of_column(tree: Path, column: str) -> None:
    for row in ("base", "Q-P"):
        assert f"smoke: {column} of {row}" in why(tree, row, column)


def test_the_page_says_the_same(tree: Path, tmp_path: Path) -> None:
    page = tmp_path / "pages/why.md"
    told = why(tree, "P-Q", "ppl_chat", "--markdown", page)
    text = page.read_text()
    assert text.startswith("# smoke: ppl_chat of P-Q\n\n- in table.csv: ")
    assert "\n## P-Q = Q after P (seed 0)\n\n- manifest: " in text
    for line in text.splitlines():
        fact = line.removeprefix("- ").lstrip("# ").replace(": ", " ", 1 if line[:1] == "-" else 0)
        assert fact in told
    assert [path.name for path in page.parent.iterdir()] == ["why.md"]


def test_lines_of_the_terminal_are_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results_tree(Path("results/smoke"), ALL)
    done = ask("why", "P-KD-Q", "ppl_chat_ratio_se", "--study", STUDY)
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_row_and_column_stand_anywhere(tree: Path) -> None:
    flags = ("--results", tree, "--study", STUDY)
    orders = (("P", "kl", *flags), (*flags, "P", "kl"), (*flags, "--", "P", "kl"))
    first, *others = (ask("why", *words) for words in orders)
    assert first.returncode == 0
    assert all(its.stdout == first.stdout for its in others)
    for words in (flags, (*flags, "P")):
        assert "needs a row and a column" in ask("why", *words).stderr


def test_bad_input_is_one_sentence(tree: Path, tmp_path: Path) -> None:
    assert "no row 'X-Y'; use one of base, P, KD, Q" in refused(tree, "X-Y", "kl")
    assert "no column 'ppl_chta'; use one of ppl_chat," in refused(tree, "P", "ppl_chta")
    assert "smoke is not finished" in refused(tmp_path / "none", "P", "kl")
    perplexity_file(tree, "KD").write_text("{")
    assert f"{perplexity_file(tree, 'KD')} is not JSON" in refused(tree, "P", "kl")


def test_a_damaged_or_missing_file(tree: Path) -> None:
    edit(perplexity_file(tree, "P"), "chat", perplexity=1.0)
    assert "its stored parts give" in refused(tree, "Q", "kl")
    perplexity_file(tree, "P").unlink()
    assert f"{perplexity_file(tree, 'P')} does not exist" in refused(tree, "Q", "kl")


def test_a_row_that_the_study_refuses(tree: Path, tmp_path: Path) -> None:
    stages = yaml.safe_load(STUDY.read_text())["stages"]
    stages["KD"]["on_quantized"] = "refuse"
    told = refused(tree, "Q-KD", "kl", study=changed(tmp_path, stages=stages))
    assert "Q-KD of smoke has no cells" in told
    assert "KD refuses the quantized parent Q" in told


def test_no_checkout_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert provenance.revision(tmp_path) == "not a git checkout"
    (tmp_path / ".git").write_text("nothing")
    assert provenance.revision(tmp_path) == "not a git checkout"
    monkeypatch.setenv("PATH", "")
    assert provenance.revision(ROOT) == "not a git checkout"
