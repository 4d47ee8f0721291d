"""Request memory and time for a job from a scheduler: the planner's figures with a margin.

Memory is host memory, even if a study computes on a GPU: schedulers assign whole GPUs.

Pure Python: the Snakefile imports it on login nodes without torch. A later attempt requests more,
so that a job killed for exceeding its memory or time can succeed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compression_order.architecture.demands import Assumed, Memory
from compression_order.architecture.shapes import UnknownShape
from compression_order.planning import devices, graph, timetable
from compression_order.planning.graph import Job
from compression_order.study.study import Study

# The planner counts tensors and operations. Measured on the default study on a CPU (2026-11-22, MB,
# measured / planned without activations + activations): training 5118 / 2372 + 1473 and
# 4995 / 2006 + 1278; forward passes only, teacher 2911 / 289 + 235, measuring 2989 / 354 + 268,
# quantizing 1512 / 650 + 33; libraries alone are 650. Freed blocks are kept (process.start), and
# texts of every length leave holes between them. The factors cover each with 25% to spare.
HELD = 1.2  # weights, gradients, moments, the teacher's cache
ACTIVATIONS_TRAINING, ACTIVATIONS_FORWARD = 2.2, 10
# an interpreter with its libraries, and on a cluster two Snakemakes around it, MB; with CUDA its
# context and pinned buffers, not measured
LIBRARIES_MB = {"cpu": 1200, "cuda": 4200}
# wall times were at most 1.4 times the planned ones and a minute, on a machine with other work
TIME_MARGIN = 3
STARTING_MIN = 15  # loading, tokenizing and a busy file server
# the slowest device of each kind that devices.py knows, and the share of its peak that is reached
SLOWEST = {"cpu": "cpu-2-cores", "cuda": "rtx-4090"}
UTILIZATION = 0.3
CONVERTING = 4  # copies of the bf16 weights that converting a model holds, in float32 in part


@dataclass(frozen=True)
class Need:
    """Request of one job at its first attempt: MB and minutes."""

    memory_mb: int
    minutes: int

    def mem_mb(self, attempt: int) -> int:
        """Memory at an attempt, counted from 1; MB."""
        return self.memory_mb * attempt

    def runtime(self, attempt: int) -> int:
        """Time at an attempt; minutes."""
        return self.minutes * attempt


LIGHT = Need(2000, STARTING_MIN)  # for texts, splits, tables, a tiny model
UNPLANNED = Need(6500, 24 * 60)  # for a model whose shape is unknown before it is fetched


def needs(study: Study, root: Path) -> Mapping[str, Need]:
    """Compute the needs of every planned job by name, and of `model`, which prepares the model.

    None if the shape of the model is unknown before it is fetched: jobs then get `UNPLANNED`.

    Raises:
        HarnessError: the plan fails, for example because a stage would remove the whole model.
    """
    try:
        shape = graph.architecture(study)
    except UnknownShape:
        return {}
    jobs = graph.jobs(study, shape, Assumed(), root)
    found = {job.name: _need(job, study.device) for job in jobs}
    converting = CONVERTING * jobs[0].demand.memory.weights / 1e6
    model = Need(round(converting) + LIBRARIES_MB["cpu"], 2 * STARTING_MIN)
    return {**found, "model": model}


def asker(study: Study, root: Path) -> Callable[..., dict[str, Callable[[Any, int], int]]]:
    """Make the function that gives a rule its resources: `**asked("measure {pipeline}")`.

    The name is that of a planned job, with the rule's wildcards; no name means a light job. The
    plan counts one process: `processes` says how many a job starts.
    """
    planned = needs(study, root)

    def asked(
        job: str | None = None, processes: Callable[[Any], int] = lambda _: 1
    ) -> dict[str, Callable[[Any, int], int]]:
        def need(wildcards: Mapping[str, str]) -> Need:
            if job is None:
                return LIGHT
            return planned[job.format(**wildcards)] if planned else UNPLANNED

        return {
            "mem_mb": lambda w, attempt: need(w).mem_mb(attempt) * processes(w),
            "runtime": lambda w, attempt: need(w).runtime(attempt),
        }

    return asked


def _need(job: Job, device: str) -> Need:
    slowest = devices.named(SLOWEST[device])
    hours = timetable.hours(job.demand.flops, slowest, UTILIZATION)
    megabytes = round(_host_bytes(job.demand.memory, device) / 1e6) + LIBRARIES_MB[device]
    return Need(megabytes, STARTING_MIN + round(60 * hours * TIME_MARGIN))


def _host_bytes(memory: Memory, device: str) -> float:
    """Bytes of host memory without libraries; on a GPU, the data that pass through the host."""
    if device == "cuda":
        return HELD * (memory.weights + memory.teacher)
    factor = ACTIVATIONS_TRAINING if memory.gradients else ACTIVATIONS_FORWARD
    return HELD * (memory.peak - memory.activations) + factor * memory.activations
