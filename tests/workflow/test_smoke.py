"""The smoke study, run for real: the table, what a change makes stale, and interrupted runs.

Most tests make a change and compare the set of jobs that a dry run plans with the set that
should be stale. Two runs are whole: the shared one, and one from nothing. The tests of
test_interrupted.py finish on one core and compare the bytes too.
"""

import csv
import itertools
import json
import os
import shutil
from pathlib import Path

import pytest
from lab import ROOT
from workflow_fixtures import (
    NODES,
    ROWS,
    SMOKE,
    TABLE,
    TABLES,
    Copy,
    Finished,
    Job,
    after_run,
    content,
    family,
    finished,
    jobs,
)

from compression_order.common import closure
from compression_order.study import parse
from compression_order.workflow import sources

__all__ = ["after_run", "finished"]  # fixtures

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

EVALUATIONS = ("perplexity", "fidelity", "lm_eval", "size")


def swap(settings, one, other):
    assert settings[one] != settings[other]
    settings[one], settings[other] = settings[other], settings[one]


# the table


def test_one_command_makes_all_16_rows_without_an_empty_cell(finished: Finished):
    with (finished.copy.root / TABLE).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["pipeline"] for row in rows] == ROWS
    for row in rows:
        assert all(value.strip() for value in row.values()), row
        tokens = set(row["pipeline"].split("-"))
        inapplicable = {name for name, value in row.items() if value == "n/a"}
        predicates = {"q_before_p": {"P", "Q"}, "q_before_kd": {"KD", "Q"}}
        for name, both in predicates.items():
            assert (name in inapplicable) is (not both <= tokens), row
        measured = {name for name in inapplicable if not name.startswith("published_")}
        assert measured <= set(predicates), row
        assert "nan" not in row.values()


def test_the_terminal_shows_the_table_and_three_findings(finished: Finished):
    end = finished.output[finished.output.rindex("main_table") :]
    for row in ROWS:
        assert row in end
    told = (finished.copy.root / "results/table.md").read_text()
    assert all(f"| {row} " in told or f"`{row}`" in told for row in ROWS)


def test_every_node_has_its_files_and_nothing_is_left_aside(finished: Finished):
    root = finished.copy.root
    for row in ROWS:
        manifest = json.loads((finished.copy.checkpoint(row) / "checkpoint.json").read_text())
        assert manifest["pipeline"] == row
        for name in EVALUATIONS:
            assert (root / f"results/smoke/seed0/evaluations/{row}/{name}.json").is_file()
    stages = {p.name for p in (root / "results/smoke/seed0/checkpoints").iterdir()}
    assert stages == set(ROWS)
    assert not [p for p in root.rglob("*") if p.name.endswith(".partial")]
    assert not [p for p in (root / "work/smoke").rglob("*") if p.is_file()]  # snapshots


def test_every_job_imported_only_what_its_rule_watches(finished: Finished):
    """Otherwise an edit could leave a result as it was."""
    study = parse.read([ROOT / SMOKE], ROOT)
    seen = set()
    for path in finished.records.iterdir():
        record = json.loads(path.read_text())
        script, *flags = record["argv"]
        if not script.startswith("src/"):
            assert not record["torch"], record["argv"]  # Snakemake itself
            continue
        name = script.removeprefix("src/")
        seen.add(name)
        told = dict(itertools.pairwise(flags))
        if "--pipeline" in told:
            known = sources.of_stage(study, told["--pipeline"])
        elif "--checkpoint" in told:
            known = sources.of_reader(
                study, Path(told["--checkpoint"]).name, name, study.scoring_modules()
            )
        else:
            known = sources.of_script(name)
        decide = {path for path in record["files"] if closure.decides(ROOT / path)}
        more = decide - {os.path.relpath(path, ROOT) for path in known}
        # declarations, which decide nothing, import the formulas of what they plan
        assert {path.split("/")[2] for path in more} <= {"architecture"}, record["argv"]
    assert seen >= {"prune.py", "distill.py", "quantize.py", "measure.py", "base.py", "teach.py"}
    assert seen >= {"reference.py", "table.py", "findings.py", "make_model.py", "split_text.py"}


# again, and from nothing


def test_again_there_is_nothing_to_do(after_run: Copy):
    done = after_run.snakemake()
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout


def test_touching_every_source_and_configuration_reruns_nothing(after_run: Copy):
    for name in sorted(after_run.files()):
        if not name.startswith(("results/", "assets/", "work/")):
            (after_run.root / name).touch()
    assert after_run.planned() == set()


def test_without_results_the_next_run_makes_the_same_bytes(after_run: Copy):
    """Of two orders, which have every kind of stage on a dense and on a quantized parent."""
    before, lines = content(after_run), (after_run.root / TABLE).read_text().splitlines()
    shutil.rmtree(after_run.root / "results")
    shutil.rmtree(after_run.root / "logs")
    after_run.change_study(keep_two_orders)
    done = after_run.snakemake()
    assert done.returncode == 0, done.stdout[-4000:]
    after = content(after_run)
    measured = [name for name in after if "/seed0/" in f"/{name}" or "/teacher/" in f"/{name}"]
    assert len(measured) > 30
    assert [name for name in measured if after[name] != before[name]] == []
    again = (after_run.root / TABLE).read_text().splitlines()
    assert len(again) == 1 + 7
    assert set(again) <= set(lines)
    assert after_run.planned() == set()


# I changed X, so Y reruns


def change_temperature(study):
    study["stages"]["KD"]["temperature"] = 3.0


def swap_counts(study):
    swap(study["stages"]["KD"]["training"], "batch_size", "warmup_steps")


def swap_alpha_and_clip(study):
    its = study["stages"]["KD"]
    its["alpha"], its["training"]["max_grad_norm"] = its["training"]["max_grad_norm"], its["alpha"]


def swap_temperature_and_clip(study):
    its = study["stages"]["KD"]
    clip = its["training"]["max_grad_norm"]
    its["temperature"], its["training"]["max_grad_norm"] = clip, its["temperature"]


def change_top_k(study):
    study["stages"]["KD"]["top_k"] = 32


def change_ratio(study):
    study["stages"]["P"]["ratio"] = 0.5


def change_on_quantized(study):
    study["stages"]["P"]["on_quantized"] = "dequantize"


def change_max_tokens(study):
    study["evaluations"]["max_tokens"] = 512


def add_ordering(study):
    study["orderings"] = [*NODES, "Q-P-Q"]


def drop_ordering(study):
    study["orderings"] = NODES[:-1]


def keep_two_orders(study):
    study["orderings"] = ["P-KD-Q", "Q-KD-P"]


MEASURES = {("measure", row) for row in ROWS} | TABLES


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        (change_temperature, jobs(family("KD"))),
        (swap_counts, jobs(family("KD"))),
        (swap_alpha_and_clip, jobs(family("KD"))),
        (swap_temperature_and_clip, jobs(family("KD"))),
        (change_top_k, jobs(family("KD")) | {("teach", "KD")}),
        (change_ratio, jobs(family("P"))),
        (change_on_quantized, jobs(family("P"))),
        (change_max_tokens, MEASURES),
        (add_ordering, jobs(["Q-P-Q"])),
        (drop_ordering, TABLES),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_changed_setting_reruns_exactly_what_it_decides(read_only: Copy, change, stale):
    path = read_only.root / SMOKE
    before, time = path.read_bytes(), path.stat().st_mtime_ns
    read_only.change_study(change)
    try:
        assert read_only.planned() == stale
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(time, time))


MODEL_ON = jobs(NODES) | {("measure", "base"), ("base", ""), ("teach", "KD"), ("reference", "")}
TEXTS = ("alpaca", "c4", "contracts", "openbookqa", "wiki")
ALL_JOBS = {
    *MODEL_ON,
    ("make_model", ""),
    ("split_text", ""),
    *(("prepare_text", t) for t in TEXTS),
}
WITH_Q = [node for node in NODES if "Q" in node.split("-")]
PACKAGE = "src/compression_order"
# what the smoke study does not use, and what no result depends on
NOTHING = (
    "README.md",
    f"{PACKAGE}/loading.py",
    f"{PACKAGE}/methods/__init__.py",
    f"{PACKAGE}/methods/*.py",
    f"{PACKAGE}/methods/[!fln]*/run.py",
    f"{PACKAGE}/methods/full/run.py",
    f"{PACKAGE}/methods/l[!o]*/run.py",
    f"{PACKAGE}/methods/lora/run.py",
    f"{PACKAGE}/**/settings.py",
    f"{PACKAGE}/checkpoint/forms/int8.py",
    f"{PACKAGE}/checkpoint/forms/packed.py",
    *(f"{PACKAGE}/{room}/*.py" for room in ("commands", "costs", "judge", "planning", "workflow")),
)


def edited(copy: Copy, *patterns: str) -> set[Job]:
    """What a dry run plans when files have one line more; they are put back, times too."""
    paths = {path for pattern in patterns for path in copy.root.glob(pattern)}
    assert paths, patterns
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}
    figure = "another-study,P,tiny,perplexity,1.0,,reported,\n"
    for path, (stored, _) in before.items():
        more = figure if path.suffix == ".csv" else "# a real change\n"
        path.write_bytes(stored + more.encode())
    try:
        return copy.planned(TABLE, "results/findings.md")
    finally:
        for path, (stored, time) in before.items():
            path.write_bytes(stored)
            os.utime(path, ns=(time, time))


@pytest.fixture(scope="module")
def read_only(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """What the smoke run left, for tests that put back what they change."""
    return finished.copy.copied(tmp_path_factory.mktemp("read-only") / "repository")


@pytest.mark.parametrize(
    ("pattern", "stale"),
    [
        # a method, a form of storage
        ("methods/logits/run.py", jobs(family("KD"))),
        ("methods/ffn_neurons/run.py", jobs(family("P"))),
        ("methods/nf4/run.py", jobs(family("Q"))),
        ("checkpoint/forms/nf4.py", jobs(WITH_Q)),
        ("checkpoint/forms/bnb.py", jobs(WITH_Q)),
        ("checkpoint/forms/__init__.py", MODEL_ON),
        # a room
        ("common/*.py", ALL_JOBS),
        ("orderings.py", TABLES),
        ("statistics/*.py", TABLES),
        ("text/*.py", MODEL_ON - {("base", ""), ("measure", "base")} | MEASURES),
        ("architecture/**/*.py", MODEL_ON),
        ("assets/*.py", ALL_JOBS),
        ("checkpoint/*.py", MODEL_ON),
        ("training/*.py", jobs(NODES) | {("teach", "KD"), ("reference", ""), ("measure", "base")}),
        ("study/*.py", MEASURES),
        ("stages/*.py", MODEL_ON),
        ("evaluation/*.py", MEASURES | {("reference", "")}),
        ("results/**/*.py", TABLES),
        ("findings/*.py", {("analysis", ""), ("main_table", "")}),
        # what lies outside the package
        ("../prune.py", jobs(family("P"))),
        ("../measure.py", MEASURES),
        ("../table.py", TABLES - {("analysis", "")}),
        ("../../published/published.csv", TABLES),
        ("../../tasks/contracts.yaml", MEASURES),
        ("../../envs/core.lock", MODEL_ON | {("make_model", "")}),
        ("../../envs/page.lock", set()),
    ],
)
def test_an_edited_file_reruns_exactly_what_it_decides(read_only: Copy, pattern, stale):
    assert edited(read_only, os.path.normpath(f"{PACKAGE}/{pattern}")) == stale


def test_what_decides_no_result_reruns_nothing(read_only: Copy):
    assert edited(read_only, *NOTHING) == set()


def test_a_whitespace_change_of_the_study_file_reruns_nothing(after_run: Copy):
    after_run.edit(SMOKE, "temperature: 2.0\n", "temperature:    2.0  # softer\n")
    assert after_run.planned() == set()


def test_a_finished_table_needs_no_intermediate_checkpoint(after_run: Copy):
    """They may be deleted to free space; a study that needs them makes them again."""
    shutil.rmtree(after_run.checkpoint("P-Q"))
    shutil.rmtree(after_run.checkpoint("P-Q-KD"))
    assert after_run.planned() == set()


def test_an_equal_rebuild_does_not_cascade(after_run: Copy):
    """Followers are compared by the manifest's bytes, once it is there.

    Snakemake cannot know beforehand that a manifest will be equal: the plan of a missing one
    lists its followers too. Made again by itself it spares them.
    """
    before = content(after_run)
    manifest = after_run.checkpoint("P-Q") / "checkpoint.json"
    shutil.rmtree(manifest.parent)
    after_run.forget_table()
    assert after_run.planned() == jobs(["P-Q", "P-Q-KD"])
    rebuilt = after_run.snakemake(str(manifest.relative_to(after_run.root)))
    assert rebuilt.returncode == 0, rebuilt.stdout[-4000:]
    assert after_run.planned() == TABLES
    assert after_run.snakemake().returncode == 0
    assert content(after_run) == before


def test_texts_made_again_rerun_nothing(after_run: Copy):
    """Also those that are larger than what Snakemake compares by bytes without being told."""
    texts = sorted((after_run.root / "assets/text").iterdir())
    assert max(path.stat().st_size for path in texts) > 1_000_000
    for path in texts:
        path.unlink()
    done = after_run.snakemake(*(str(path.relative_to(after_run.root)) for path in texts))
    assert done.returncode == 0, done.stdout[-4000:]
    assert after_run.planned() == set()
