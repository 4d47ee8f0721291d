"""Estimate how long the jobs of a plan take on a device, and what sharing work saves.

The time of a job is its operations divided by an assumed share of the device's peak. Not counted:
starting a process, loading libraries and weights, tokenizing, memory-bound work such as the
optimizer's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compression_order import orderings
from compression_order.architecture import demands
from compression_order.architecture.demands import Assumed
from compression_order.methods import formulas
from compression_order.planning import graph
from compression_order.planning.devices import Device
from compression_order.planning.graph import Job
from compression_order.study.study import Study


@dataclass(frozen=True)
class Total:
    """One figure about a whole plan: jobs and operations."""

    name: str
    jobs: int
    flops: int


def hours(flops: int, device: Device, utilization: float) -> float:
    """Hours that one worker of a device takes."""
    return flops / (device.peak * utilization) / 3600


def all_jobs(planned: Sequence[Job]) -> Total:
    """Every copy of every job."""
    flops = sum(job.copies * job.demand.flops for job in planned)
    return Total("all jobs", sum(job.copies for job in planned), flops)


def critical_path(planned: Sequence[Job]) -> tuple[str, ...]:
    """Find the longest chain of dependent jobs, a lower bound of the time on any machine."""
    longest: dict[str, tuple[int, tuple[str, ...]]] = {}
    for job in planned:
        before = max((longest[name] for name in job.after), default=(0, ()))
        longest[job.name] = (before[0] + job.demand.span, (*before[1], job.name))
    return max(longest.values())[1]


def side_by_side(planned: Sequence[Job], workers: int) -> int:
    """Schedule the jobs, longest chain first: operations until the last worker is done.

    A job holds as many workers as it has devices; there must be at least that many.
    """
    copies = {job.name: job.copies for job in planned}
    pending = [(job, copy) for job in planned for copy in range(job.copies)]
    rank = _ranks(planned)
    free, ends = [0] * workers, dict[tuple[str, int], int]()

    def ready(job: Job, copy: int) -> int | None:
        needs = [(name, copy if copies[name] > 1 else 0) for name in job.after]
        return max((ends[n] for n in needs), default=0) if all(n in ends for n in needs) else None

    while pending:
        starts = [
            (max(sorted(free)[job.demand.devices - 1], at), -rank[job.name], place)
            for place, (job, copy) in enumerate(pending)
            if (at := ready(job, copy)) is not None
        ]
        start, _, place = min(starts)
        job, copy = pending.pop(place)
        ends[job.name, copy] = start + job.demand.span
        for _ in range(job.demand.devices):
            free.remove(min(free))
        free += [ends[job.name, copy]] * job.demand.devices
    return max(ends.values())


def _ranks(planned: Sequence[Job]) -> Mapping[str, int]:
    """For each job, count the operations in the longest chain that begins with it."""
    ranks = {job.name: job.demand.span for job in planned}
    for job in reversed(planned):
        for name in job.after:
            own = next(j for j in planned if j.name == name).demand.span
            ranks[name] = max(ranks[name], own + ranks[job.name])
    return ranks


def saved_by_prefixes(study: Study, planned: Sequence[Job]) -> Total:
    """Count stage jobs and operations that pipelines would repeat without shared prefixes."""
    flops = {job.pipeline: job.demand.flops for job in planned if job.state}
    wanted = [row for row in study.plan.rows if row not in study.plan.refused]
    alone = [node for row in wanted for node in orderings.prefixes(row) if row != orderings.BASE]
    shared = study.plan.nodes
    work = sum(flops[n] for n in alone) - sum(flops[n] for n in shared)
    seeds = len(study.seeds)
    name = f"saved by shared prefixes, {len(shared)} stages instead of {len(alone)}"
    return Total(name, seeds * (len(alone) - len(shared)), seeds * work)


def saved_by_cache(study: Study, planned: Sequence[Job], assumed: Assumed) -> Total:
    """Count the teacher passes that distillations would repeat in every step without a cache."""
    base = planned[0].state
    assert base is not None
    teacher = graph.teacher_state(study, base).shape
    online, jobs = 0, 0
    for job in (j for j in planned if j.kind == "distill"):
        stage = study.stages[orderings.last(job.pipeline)]
        how = formulas.run_of(stage.settings.training, graph.context(study, stage, assumed))
        online += job.copies * demands.forward(teacher, "teacher", how.sequences, how.mean).flops
        jobs += job.copies
    cached = [j for j in planned if j.kind == "teach"]
    work = online - sum(j.demand.flops for j in cached)
    name = f"saved by the teacher's cache, {len(cached)} instead of {jobs} passes"
    return Total(name, jobs - len(cached), work)
