"""One training on several devices, with two CPU processes: the run of one, within rounding.

What differs is rounding: bf16 products of batches that are padded otherwise, and sums in another
order. The distillation's measured differences stand beside the tolerances.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lab import ROOT, SCRIPTS, SEQ_LEN, Lab, inside, steps_done, training_flags
from safetensors.torch import load_file
from workflow_fixtures import repository

from compression_order.architecture import demands, memory, shapes
from compression_order.common.errors import HarnessError
from compression_order.planning import timetable
from compression_order.planning.devices import named
from compression_order.study import parse
from compression_order.workflow import environments

STEPS = 12
CURVE = 5e-3  # relative difference of a step's loss; measured 9e-4
WEIGHTS = 0.05  # distance of the two results over that from the parent; measured 0.011


@dataclass(frozen=True)
class Result:
    """A finished stage: the losses each process saw, its folder, what it told."""

    losses: list[list[float]]
    out: Path
    told: str

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return {k: v.float() for k, v in load_file(self.out / "model.safetensors").items()}

    @property
    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / "checkpoint.json").read_text())
        return found


@dataclass(frozen=True)
class Bench:
    """Runs one stage with any number of processes, all else equal."""

    lab: Lab
    token: str
    folder: Path
    optimizer: str = "own"
    more: tuple[str, ...] = ()

    def command(self, count: int, name: str, seconds: float) -> list[str]:
        """The command of a run of that name; `seconds` between two snapshots."""
        prefix = {"P": "recovery", "KD": "training"}[self.token]
        changes = {"steps": STEPS, "seq_len": SEQ_LEN, "devices": count}
        its = [*training_flags(prefix, **changes), *self.more]
        its += [f"--snapshot-seconds={seconds}", "--work", str(self.work(name))]
        out = self.folder / name / self.token
        out.parent.mkdir(parents=True, exist_ok=True)
        flags = [*map(str, self.lab.flags(self.lab.base, out, *its))]
        start = environments.launcher("logits", count).split()
        if count > 1:
            start = [sys.executable, "-m", "torch.distributed.run", *start[1:]]
        else:
            start = [sys.executable]
        script = str(ROOT / "tests/support/tell_losses.py")
        return [*start, script, str(out.parent), self.optimizer, SCRIPTS[self.token], *flags]

    def work(self, name: str) -> Path:
        return self.folder / name / "work"

    def run(self, count: int, name: str, seconds: float = 999) -> Result:
        """Run to the end; every process's losses."""
        done = subprocess.run(
            self.command(count, name, seconds),
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        home = self.folder / name
        found = [json.loads((home / f"losses.{rank}.json").read_text()) for rank in range(count)]
        return Result(found, home / self.token, done.stderr)

    def kill(self, count: int, name: str) -> int:
        """SIGKILL one process in the middle of the training; the steps that it had stored."""
        quiet = subprocess.DEVNULL
        command = self.command(count, name, 0)
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        stage = subprocess.Popen(command, cwd=ROOT, env=env, stdout=quiet, stderr=quiet)
        snapshot = self.work(name) / "snapshot.safetensors"
        deadline = time.monotonic() + 200
        while steps_done(snapshot) < STEPS // 4:
            assert stage.poll() is None, "the stage ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(max(children(stage.pid), default=stage.pid), signal.SIGKILL)
        assert stage.wait(timeout=120) != 0
        assert 0 < steps_done(snapshot) < STEPS
        assert not (self.folder / name / self.token).exists()
        return steps_done(snapshot)


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """L2 distance of two models."""
    assert one.keys() == other.keys()
    return float(sum((one[k] - other[k]).square().sum() for k in one).sqrt())


def same_within_rounding(one: Result, two: Result, parent: Path) -> None:
    """Both did the same: loss by loss, and in their weights."""
    for losses in two.losses:
        assert losses == two.losses[0]  # every process knows the loss of all
    assert len(one.losses[0]) == STEPS
    assert two.losses[0] == pytest.approx(one.losses[0], rel=CURVE)
    moved = distance(one.weights, parent_of(one, parent))
    apart = distance(one.weights, two.weights)
    assert 0 < apart <= WEIGHTS * moved, f"{apart / moved:.4f} of the way"
    alone, together = one.manifest, two.manifest
    assert alone.keys() == together.keys()
    for key in ("architecture", "parameters", "bytes", "parent", "seed", "format"):
        assert alone[key] == together[key], key
    tokens = [next(c["tokens"] for c in trained(m)) for m in (alone, together)]
    assert tokens[0] == tokens[1]


def trained(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The record of a manifest's training."""
    return [manifest["claims"][k] for k in ("training", "recovery") if k in manifest["claims"]]


def parent_of(result: Result, parent: Path) -> dict[str, torch.Tensor]:
    """The parent's weights; of a cut model those that the cut left as they were."""
    weights = {k: v.float() for k, v in load_file(parent / "model.safetensors").items()}
    shapes_ = {k: v.shape for k, v in result.weights.items()}
    return {k: v if v.shape == shapes_[k] else result.weights[k] for k, v in weights.items()}


@pytest.fixture(scope="module", params=["KD", "P"])
def bench(
    request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Bench:
    """A distillation, and a pruning with recovery."""
    return Bench(lab, request.param, tmp_path_factory.mktemp("devices"))


@pytest.fixture(scope="module")
def alone(bench: Bench) -> Result:
    """The stage in one process."""
    return bench.run(1, "alone")


@pytest.mark.slow
def test_two_processes_do_what_one_does(bench: Bench, alone: Result, lab: Lab) -> None:
    same_within_rounding(alone, bench.run(2, "together"), lab.base)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_killed_run_resumes_on_another_number(
    before: int, after: int, bench: Bench, alone: Result, lab: Lab
) -> None:
    name = f"{before}-{after}"
    done = bench.kill(before, name)
    resumed = bench.run(after, name)
    assert f"snapshot.safetensors at step {done}" in resumed.told
    same_within_rounding(alone, resumed, lab.base)
    assert not bench.work(name).exists()


@pytest.mark.slow
def test_gradients_are_those_of_the_whole_batch(lab: Lab, tmp_path: Path) -> None:
    """Plain descent without a clip: a gradient that is half or twice as large goes elsewhere."""
    more = ("--training.accumulation=2", "--training.learning-rate=0.1")
    bench = Bench(lab, "KD", tmp_path, "sgd", (*more, "--training.max-grad-norm=1000000"))
    same_within_rounding(bench.run(1, "alone"), bench.run(2, "together"), lab.base)


@pytest.mark.slow
def test_pruned_weights_stay_zero(lab: Lab, tmp_path: Path) -> None:
    bench = Bench(lab, "KD", tmp_path, "masked")
    alone, together = bench.run(1, "alone"), bench.run(2, "together")
    same_within_rounding(alone, together, lab.base)
    for result in (alone, together):
        kept = [w for name, w in result.weights.items() if "up_proj" in name or "q_proj" in name]
        assert all(0.49 < float((w == 0).float().mean()) < 0.51 for w in kept)


@pytest.mark.slow
def test_a_fault_is_told_in_one_sentence_at_the_end(lab: Lab, tmp_path: Path) -> None:
    more = ("--training.batch-size=64",)
    command = Bench(lab, "KD", tmp_path, "own", more).command(2, "fails", 999)
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    sentence = "error: the training split has 56 usable conversations, fewer than batch_size 64"
    lines = done.stderr.splitlines()
    assert any(line.startswith(sentence) for line in lines)
    assert any(sentence in line for line in lines[-4:])  # torchrun's report ends with it
    assert not (tmp_path / "fails" / "KD").exists()


# --- refusals -------------------------------------------------------------------------------


def changed(**changes: Any) -> dict[str, Any]:
    """The smoke study with settings of KD and its training changed."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "studies/smoke.yaml").read_text())
    stage = config["stages"]["KD"]
    for key, value in changes.items():
        (stage["training"] if key in stage["training"] else stage)[key] = value
    return config


REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"devices": 3}, ["stages.KD.training.batch_size", "4 conversations", "multiple of 3"]),
    ({"devices": 2, "optimizer": "adamw-8bit"}, ["training.optimizer", "adamw-8bit", "use adamw"]),
    ({"devices": 2, "reduction": "paper"}, ["stages.KD.reduction", "'paper'", "token-mean"]),
    ({"devices": 0}, ["stages.KD.training.devices", "0", "at least 1"]),
]


@pytest.mark.parametrize(("changes", "told"), REFUSED)
def test_a_study_refuses(changes: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(HarnessError) as fault:
        parse.build(changed(**changes), "s.yaml", ROOT)
    for words in ("s.yaml: ", *told):
        assert words in str(fault.value)


def test_a_training_of_no_steps_takes_one_device() -> None:
    built = parse.build(changed(devices=3, steps=0), "s.yaml", ROOT)
    assert built.devices("KD") == 1
    assert environments.launcher("logits", 1) == "python"


def test_a_stage_refuses_what_a_study_refuses(lab: Lab, tmp_path: Path) -> None:
    flags = lab.flags(lab.base, tmp_path / "KD", "--training.devices=2", "--reduction=paper")
    with pytest.raises(HarnessError, match="reduction: 'paper' clamps"):
        inside("distill", *flags)


def test_a_stage_that_is_started_in_too_few_processes_says_how(lab: Lab, tmp_path: Path) -> None:
    told = "the settings ask for 2, and 1 process.* start the script with `torchrun --standalone"
    with pytest.raises(HarnessError, match=told):
        inside("distill", *lab.flags(lab.base, tmp_path / "KD", "--training.devices=2"))


@pytest.mark.workflow
@pytest.mark.slow
def test_the_rule_starts_and_asks_for_the_devices(tmp_path: Path) -> None:
    copy = repository(tmp_path / "repository")
    (copy.root / "two.yaml").write_text(yaml.safe_dump(changed(devices=2) | {"device": "cuda"}))
    asked = ("results/table.csv", "--dry-run", "--printshellcmds", "--resources", "gpu=8")
    done = copy.snakemake(*asked, study="two.yaml")
    assert done.returncode == 0, done.stdout
    jobs = [job for job in done.stdout.split("\nrule ") if job.startswith("compress:")]
    assert len(jobs) == 15
    for job in jobs:
        two = "src/distill.py" in job
        start = "torchrun --standalone --nproc-per-node=2 src/distill.py" if two else "python src/"
        assert f"        {start}" in job
        assert ("threads: 2" in job) == two
        assert f"gpu={2 if two else 1}," in job


# --- the plan -------------------------------------------------------------------------------


def test_devices_share_memory_and_time_but_not_work() -> None:
    shape = shapes.named("qwen2.5-3b")
    how = [memory.TrainingRun(2, 8, 512, 512, devices=n) for n in (1, 4)]
    one, four = (memory.training_memory(shape, h, 0, 24) for h in how)
    assert four.optimizer * 4 == pytest.approx(one.optimizer)
    shared = shape.parameters / 4
    assert four.gradients > 4 * shared  # its own, and what is not yet reduced
    assert four.peak < one.peak / 2
    parts = [demands.trained(shape, "training", h) for h in how]
    assert parts[0].flops == parts[1].flops
    hours = [timetable.hours(part.span, named("a100-80gb"), 0.3) for part in parts]
    assert hours[1] * 4 == pytest.approx(hours[0])


def test_a_model_is_whole_on_each_device_before_it_is_sharded() -> None:
    shape = shapes.named("qwen2.5-3b")
    how = memory.TrainingRun(1, 64, 8, 8, devices=64)
    assert memory.training_memory(shape, how, 0, 24).peak >= 4 * shape.parameters
