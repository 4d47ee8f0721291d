"""The plan beside what a run took: cost records as the jobs write them."""

import csv
import json
import re
from pathlib import Path

import pytest
import yaml
from lab import ROOT
from results_tree import ask

from compression_order.architecture import demands, memory
from compression_order.costs.meter import Costs
from compression_order.planning import graph, measured
from compression_order.study import parse

SEEDS = [0, 1]


@pytest.fixture
def smoke(tmp_path: Path) -> Path:
    """The smoke study with two seeds, as a file; its results lie beside it."""
    read = yaml.safe_load((ROOT / "studies/smoke.yaml").read_text())
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**read, "seeds": SEEDS}, sort_keys=False))
    return path


def cost(folder: Path, process: str, wall: float, work: float, peak: int) -> None:
    """A record as a process writes it, with figures of our own."""
    Costs(process, 1).write(folder)
    path = folder / f"{process}.json"
    record = json.loads(path.read_text())
    assert {*measured.FIELDS} <= {*record}
    record |= {"wall_s": wall, "work_s": work, "peak_rss_bytes": peak}
    path.write_text(json.dumps(record))


def plan(smoke: Path, *flags: str) -> tuple[str, dict[str, dict[str, str]]]:
    out = smoke.parent / "plan.csv"
    done = ask("plan", f"--study={smoke}", f"--results={smoke.parent}", f"--csv={out}", *flags)
    assert done.returncode == 0, done.stderr
    with out.open(newline="") as stream:
        return done.stdout, {row["job"]: row for row in csv.DictReader(stream) if row["peak_bytes"]}


def test_without_a_run_nothing_stands_beside(smoke: Path) -> None:
    said, rows = plan(smoke)
    assert "planned and measured" not in said
    for row in rows.values():
        assert {row[c] for c in row if c.startswith("measured")} == {""}
        assert (row["time_ratio"], row["memory_ratio"]) == ("", "")


def test_means_over_seeds_and_ratios(smoke: Path) -> None:
    for seed, scale in zip(SEEDS, (1, 3), strict=True):
        cost(smoke.parent / f"seed{seed}/costs/P", "prune", 10 * scale, 4 * scale, 10**8 * scale)
    cost(smoke.parent / "seed0/costs/P", "measure", 7, 2, 10**8)
    cost(smoke.parent / "costs/teacher.KD", "teach", 5, 3, 10**8)
    # records that the plan has no job for: another study's pipeline, another stage kind
    cost(smoke.parent / "seed0/costs/FT-P", "prune", 1000, 1000, 10**11)
    cost(smoke.parent / "seed0/costs/P", "distill", 1000, 1000, 10**11)
    cost(smoke.parent / "seed7/costs/P", "prune", 1000, 1000, 10**11)
    (smoke.parent / "seed0/costs/old.json").write_text("{")
    said, rows = plan(smoke)
    pruned = rows["P"]
    assert pruned["measured_copies"] == pruned["copies"] == "2"
    assert [float(pruned[f"measured_{c}"]) for c in ("s", "work_s", "peak_bytes")] == [20, 8, 2e8]
    ratio = float(pruned["hours"]) * 3600 / 8
    assert float(pruned["time_ratio"]) == pytest.approx(ratio, rel=0.01)
    # of a process on a CPU: with libraries and the files that it loads
    held = int(pruned["peak_bytes"]) + memory.LIBRARIES + int(pruned["read_bytes"])
    assert float(pruned["memory_ratio"]) == pytest.approx(held / 2e8, rel=0.01)
    assert rows["measure P"]["measured_copies"] == "1"
    assert rows["Q"]["measured_s"] == ""
    block = said.split("planned and measured")[1].splitlines()
    assert [line.split()[0] for line in block[1:5]] == ["teacher", "P", "measure", "sum"]
    # 2 copies of P, one of its two measurements, the teacher: seconds of 4 of all copies
    planned = sum(int(rows[j]["copies"]) for j in rows)
    assert f"4 of {planned}" in block[4]
    assert "21.00" in block[4]  # 2 x 8 + 2 + 3
    assert "52.00" in block[4]  # 2 x 20 + 7 + 5


def test_the_peak_of_a_gpu_stands_for_memory(smoke: Path) -> None:
    cost(smoke.parent / "seed0/costs/P", "prune", 10, 4, 10**8)
    path = smoke.parent / "seed0/costs/P/prune.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"peak_device_bytes": 5 * 10**9}))
    _, rows = plan(smoke)
    assert float(rows["P"]["measured_peak_bytes"]) == 5e9


def test_another_architecture_has_not_run(smoke: Path) -> None:
    cost(smoke.parent / "seed0/costs/P", "prune", 10, 4, 10**8)
    said, rows = plan(smoke, "--architecture=smollm2-135m-instruct")
    assert "planned and measured" not in said
    assert rows["P"]["measured_s"] == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "wall_s is None"),
        ('{"wall_s": 1, "work_s": "long", "peak_rss_bytes": 1}', "work_s is 'long'"),
        ('{"wall_s": 1, "work_s": 1, "peak_rss_bytes": -1}', "peak_rss_bytes is -1"),
    ],
)
def test_a_damaged_record_is_one_sentence(smoke: Path, text: str, words: str) -> None:
    path = smoke.parent / "seed1/costs/base/base.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    out = smoke.parent / "plan.csv"
    done = ask("plan", f"--study={smoke}", f"--results={smoke.parent}", f"--csv={out}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {path}")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not out.exists()


def test_a_job_without_seconds_or_bytes_has_no_ratio() -> None:
    nothing = measured.columns(1.0, 100, measured.Measured(1, 0.5, 0.0, 0.0))
    assert (nothing["time_ratio"], nothing["memory_ratio"]) == ("", "")
    assert measured.columns(1.0, 100, None) == {}


def test_every_job_looks_where_the_rules_write() -> None:
    """The folders in the rules, with their wildcards filled in, are those of the jobs."""
    read = yaml.safe_load((ROOT / "studies/smoke.yaml").read_text())
    assumed = demands.Assumed(conversation=0, question=64, text=1, questions=1)
    jobs = []
    for teacher in ("base", "P"):  # one for the study, one for each seed
        asked = parse.build({**read, "teacher": teacher}, "smoke", ROOT)
        jobs += graph.jobs(asked, graph.architecture(asked), assumed, ROOT)
    rules = "".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    templates = {
        line.split("--costs ")[1].split()[0].replace(":q}", "}")
        for line in rules.splitlines()
        if "--costs " in line and "~" not in line  # comparisons of two are in no plan
    }
    assert "{params.costs}" in templates
    told = {line.split('"')[1] for line in rules.splitlines() if line.strip().startswith("costs=")}
    named = {re.sub(r"\{(\w+)\}", r"{wildcards.\1}", template) for template in told}
    templates = (templates - {"{params.costs}"}) | named
    expected = set()
    for template in templates:
        for pipeline in asked.plan.rows:
            filled = template.replace("{wildcards.study}", "smoke").replace("{wildcards.seed}", "0")
            filled = filled.replace("{wildcards.token}", "KD")
            expected.add(filled.replace("{wildcards.pipeline}", pipeline))
    looked = {
        str(path.parent)
        for job in jobs
        for path in measured._paths(job, [0], Path("results/smoke"))
    }
    assert looked == expected
