"""What making checkpoints took: sums along orderings, and how busy a process keeps its device."""

import csv
import gc
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from lab import ROOT, Lab
from results_tree import ask

from compression_order.architecture import demands
from compression_order.costs import utilization
from compression_order.costs.meter import Costs
from compression_order.costs.utilization import Sample, Sampler
from compression_order.planning import graph, totals
from compression_order.planning.graph import Job
from compression_order.planning.measured import Measured
from compression_order.planning.totals import Taken
from compression_order.study import parse, study

SMOKE = yaml.safe_load((ROOT / "studies/smoke.yaml").read_text())


# --- how busy the device is -----------------------------------------------------------------


def work(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        sum(range(1000))


def test_shares_add_up_to_the_time_that_the_processor_counts() -> None:
    """Whatever else runs here: percent of a second, summed, is the process's own time."""
    used = time.process_time()
    sampler = Sampler(threads=2, period=0.05)
    work(0.4)
    samples = list(sampler.stop())
    assert len(samples) >= 3
    spent, before = 0.0, 0.0
    for sample in samples:
        spent += 2 * sample.cpu_percent / 100 * (sample.second - before)
        before = sample.second
    assert 0.3 < spent <= time.process_time() - used + 0.01
    assert all(s.rss_bytes > 10**6 and s.gpu_percent is None for s in samples)


def test_sampling_ends_with_its_owner() -> None:
    sampler = Sampler(threads=1, period=0.01)
    thread = sampler._thread
    assert thread.is_alive()
    del sampler
    gc.collect()
    thread.join(timeout=5)
    assert not thread.is_alive()


def cpu(*percents: float) -> list[Sample]:
    return [Sample(float(n), p, 1000 + n) for n, p in enumerate(percents, 1)]


def test_figures_of_a_known_timeline() -> None:
    """20 busy seconds of 41 to 60 percent; what is below 10 percent is left out."""
    found = utilization.summary(cpu(0, 9.9, *range(60, 40, -1)))
    assert (found["of"], found["samples"], found["active_samples"]) == ("cpu", 22, 20)
    assert found["percent"] == {"mean": 50.5, "p90": 58, "p95": 59, "max": 60}
    assert found["memory_bytes"] == {"mean": 1012.5, "p90": 1020, "p95": 1021, "max": 1022}
    edge = utilization.summary(cpu(10.0))
    assert edge["percent"] == {"mean": 10, "p90": 10, "p95": 10, "max": 10}


def test_an_idle_process_has_no_figures() -> None:
    assert utilization.summary(cpu(1, 2)) == {"of": "cpu", "samples": 2, "active_samples": 0}


def test_of_a_gpu_the_figures_are_its_own() -> None:
    """The seconds before CUDA was there, and what the processor did, do not count."""
    before, *during = cpu(100, 100, 100)
    on_gpu = [
        replace(s, gpu_percent=p, gpu_memory_bytes=m)
        for s, p, m in zip(during, (50.0, 70.0), (5, 9), strict=True)
    ]
    found = utilization.summary([before, *on_gpu])
    assert (found["of"], found["samples"]) == ("gpu", 2)
    assert (found["percent"]["mean"], found["memory_bytes"]["max"]) == (60, 9)
    silent = [replace(s, gpu_memory_bytes=None) for s in on_gpu]
    assert "memory_bytes" not in utilization.summary(silent)


def test_a_process_records_its_timeline(tmp_path: Path) -> None:
    Costs("prune", 1).write(tmp_path)
    record = json.loads((tmp_path / "prune.json").read_text())
    rows = list(csv.DictReader((tmp_path / "prune.utilization.csv").open()))
    assert tuple(rows[0]) == utilization.COLUMNS
    assert record["utilization"]["samples"] == len(rows) >= 1
    # the kernel counts both with some delay
    assert 0.5 < int(rows[0]["rss_bytes"]) / record["peak_rss_bytes"] < 1.1
    Costs("serving", 1, sampled=False).write(tmp_path)
    assert "utilization" not in json.loads((tmp_path / "serving.json").read_text())


def test_a_stage_records_how_busy_it_was(lab: Lab) -> None:
    folder = lab.quantized.parent.with_name(f"{lab.quantized.parent.name}.work") / "Q" / "costs"
    record = json.loads((folder / "quantize.json").read_text())
    assert record["utilization"]["of"] == "cpu"
    assert (folder / "quantize.utilization.csv").exists()


# --- sums along orderings -------------------------------------------------------------------


def jobs(asked: study.Study) -> list[Job]:
    assumed = demands.Assumed(conversation=0, question=64, text=1, questions=1)
    return graph.jobs(asked, graph.architecture(asked), assumed, ROOT)


@pytest.fixture(scope="module")
def smoke() -> study.Study:
    return parse.build(SMOKE, "smoke", ROOT)


def seconds(planned: list[Job]) -> dict[str, Measured]:
    """Every job takes another power of two: a sum tells which jobs are in it."""
    return {job.name: Measured(1, 2.0**n, 2.0**n / 2, 100.0 * n) for n, job in enumerate(planned)}


def test_an_ordering_alone_takes_its_stages_and_a_teacher(smoke: study.Study) -> None:
    planned = jobs(smoke)
    took = seconds(planned)
    made = totals.of(smoke, planned, took)
    for name, parts in {
        "P": ["base", "P"],
        "KD": ["base", "teacher KD", "KD"],
        "P-KD-Q": ["base", "P", "teacher KD", "P-KD", "P-KD-Q"],
    }.items():
        alone = made.alone[name]
        assert alone.wall_s == sum(took[part].wall_s for part in parts)
        assert alone.work_s == sum(took[part].work_s for part in parts)
        assert alone.peak_bytes == max(took[part].peak_bytes for part in parts)
        assert alone.jobs == len(parts)
        demands = [job.demand for job in planned if job.name in parts]
        assert alone.flops == sum(demand.flops for demand in demands)
        assert alone.tokens == sum(demand.tokens for demand in demands)
        assert alone.written == sum(demand.written for demand in demands)
        assert made.added[name].wall_s == took[name].wall_s


def test_what_a_study_shares(smoke: study.Study) -> None:
    """15 stages, a base and a teacher; alone 33 stages, 15 bases and a teacher for each KD."""
    planned = jobs(smoke)
    took = seconds(planned)
    made = totals.of(smoke, planned, took)
    makes = [job.name for job in planned if job.kind not in ("reference", "measure")]
    assert made.study.jobs == len(makes) == 15 + 2
    assert made.study.wall_s == sum(took[name].wall_s for name in makes)
    distillations = sum("KD" in name.split("-") for name in made.alone)
    assert made.unshared.jobs == 33 + 15 + distillations
    assert made.unshared.wall_s == sum(t.wall_s or 0 for t in made.alone.values())


def test_a_teacher_s_pass_is_repeated_for_each_distillation_alone() -> None:
    asked = parse.build({**SMOKE, "orderings": ["KD-KD"]}, "smoke", ROOT)
    planned = jobs(asked)
    made = totals.of(asked, planned, seconds(planned))
    assert made.alone["KD-KD"].jobs == 5
    assert made.study.jobs == 4


def test_a_teacher_that_no_ordering_needs_is_not_waited_for() -> None:
    asked = parse.build({**SMOKE, "orderings": ["P-Q"]}, "smoke", ROOT)
    planned = jobs(asked)
    took = {name: its for name, its in seconds(planned).items() if not name.startswith("teach")}
    made = totals.of(asked, planned, took)
    assert made.study.jobs == 3
    assert made.study.wall_s == sum(took[name].wall_s for name in ("base", "P", "P-Q"))


def test_what_did_not_run_is_unknown_and_not_zero(smoke: study.Study) -> None:
    planned = jobs(smoke)
    took = seconds(planned)
    del took["KD-P"]
    made = totals.of(smoke, planned, took)
    assert made.alone["KD-P-Q"].wall_s is None
    assert made.alone["KD-P-Q"].peak_bytes is None
    assert made.alone["KD-P-Q"].flops > 0
    assert made.alone["KD-Q"].wall_s
    assert made.study.wall_s is None
    assert totals.summed([]) == Taken()


# --- the command ----------------------------------------------------------------------------


def record(folder: Path, process: str, wall: float, percents: list[float]) -> None:
    """A record as a process writes it, with figures of our own."""
    Costs(process, 1).write(folder)
    path = folder / f"{process}.json"
    busy = utilization.summary(cpu(*percents))
    known = {"wall_s": wall, "work_s": wall / 2, "peak_rss_bytes": 10**6, "utilization": busy}
    path.write_text(json.dumps(json.loads(path.read_text()) | known))


def run(folder: Path, **changes: object) -> tuple[str, dict[tuple[str, str], dict[str, str]]]:
    """The command on a study like smoke, whose results lie in a folder; its lines."""
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**SMOKE, **changes}, sort_keys=False))
    done = ask("costs", f"--study={path}", f"--results={folder}")
    assert done.returncode == 0, done.stderr
    with (folder / "costs.csv").open(newline="") as stream:
        return done.stdout, {(row["about"], row["name"]): row for row in csv.DictReader(stream)}


def test_the_command(tmp_path: Path) -> None:
    for seed, wall in ((0, 10.0), (1, 30.0)):
        costs = tmp_path / f"seed{seed}" / "costs"
        record(costs / "base", "base", 1, [])
        record(costs / "P", "prune", wall, [40 + seed * 20, 80, 5])
    said, rows = run(tmp_path, seeds=[0, 1], orderings=["P-Q"])
    pruned = rows["job", "P"]
    assert (pruned["kind"], pruned["seeds_measured"]) == ("prune", "2")
    assert (float(pruned["wall_s"]), float(pruned["work_s"])) == (20, 10)
    assert (pruned["utilization_of"], pruned["utilization_samples"]) == ("cpu", "4")
    # means of 40 and 80, and of 60 and 80, percent
    assert pruned["utilization_percent_mean"] == "65"
    assert pruned["utilization_percent_max"] == "80"
    assert rows["job", "base"]["utilization_percent_mean"] == ""
    assert float(rows["ordering alone", "P"]["wall_s"]) == 21
    assert float(rows["ordering added", "P"]["wall_s"]) == 20
    assert rows["ordering alone", "P-Q"]["wall_s"] == "n/a"
    assert int(rows["ordering alone", "P-Q"]["flops"]) > int(pruned["flops"])
    assert "all orderings: shared, alone" in said


def test_without_a_run_or_with_a_damaged_record_it_is_one_sentence(tmp_path: Path) -> None:
    done = ask("costs", "--study=studies/smoke.yaml", f"--results={tmp_path}")
    assert done.returncode == 1
    expected = "has no cost records of this study; run `make table STUDY=studies/smoke.yaml` first"
    assert done.stderr == f"error: {tmp_path} {expected}\n"
    path = tmp_path / "seed0/costs/base/base.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"wall_s": 1, "work_s": 1, "peak_rss_bytes": 1, "utilization": {"of": "cpu"}}')
    done = ask("costs", "--study=studies/smoke.yaml", f"--results={tmp_path}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {path}: utilization is")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "costs.csv").exists()
