"""Request memory and time for a job from a scheduler: the planner's figures with a margin.

Memory is host memory, even if a study computes on a GPU: schedulers assign whole GPUs.

Pure Python: the Snakefile imports it on login nodes without torch. A later attempt requests more,
so that a job killed for exceeding its memory or time can succeed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compression_order.architecture import memory
from compression_order.architecture.demands import Assumed, Demand
from compression_order.architecture.shapes import UnknownShape
from compression_order.planning import devices, graph, timetable
from compression_order.planning.graph import Job
from compression_order.study.study import Study

# Measured on the default study on a CPU (2026-11-28, MB, measured / `Demand.resident`): base 683 /
# 1188, reference 783 / 1304, teacher 1439 / 1785, P 4664 to 5622 / 4140, KD 4548 to 5419 / 4819,
# Q 1395 to 1770 / 1602, measuring 1264 to 2481 / 2055. Freed blocks are kept (process.start), and
# tensors of many sizes leave holes between them. The margin covers the largest ratio with 25% to
# spare.
MARGIN = 1.65
# weights and the teacher's cache on their way to a GPU, and beside them the context of CUDA, pinned
# buffers and two Snakemakes on a cluster, MB; the latter are not measured
HELD, CUDA_MB = 1.2, 4200
# two Snakemakes around a job on a cluster, MB
AROUND_MB = 400
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
    converting = CONVERTING * jobs[0].demand.memory.weights + MARGIN * memory.LIBRARIES
    model = Need(round(converting / 1e6), 2 * STARTING_MIN)
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
    return Need(_megabytes(job.demand, device), STARTING_MIN + round(60 * hours * TIME_MARGIN))


def _megabytes(demand: Demand, device: str) -> int:
    """Host memory with a margin; on a GPU, that of the data that pass through the host."""
    if device == "cuda":
        return round(HELD * (demand.memory.weights + demand.memory.teacher) / 1e6) + CUDA_MB
    return round(MARGIN * demand.resident / 1e6) + AROUND_MB
