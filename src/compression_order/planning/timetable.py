"""Estimate how long the jobs of a plan take on a device, and what sharing work saves.

The time of a job is its operations divided by an assumed share of the device's peak. Not counted:
starting a process, loading libraries and weights, tokenizing, memory-bound work such as the
optimizer's.
"""

from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

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

    Of all waiting copies, the one that can start first starts next; of several, the one that
    begins the longest chain; of those, the first in the plan. A job holds as many workers as it
    has devices; there must be at least that many.

    Args:
        planned: the jobs, each after those that it waits for.
        workers: number of workers.
    """
    several = {job.name: job.copies > 1 for job in planned}
    rank = _ranks(planned)
    places = [(job, copy) for job in planned for copy in range(job.copies)]
    size = {job.name: (job.demand.devices, job.demand.span) for job in planned}
    unmet, earliest = [0] * len(places), [0] * len(places)
    followers: dict[tuple[str, int], list[int]] = {}
    for place, (job, copy) in enumerate(places):
        for name in job.after:
            followers.setdefault((name, copy if several[name] else 0), []).append(place)
            unmet[place] += 1
    waiting = {devices: _Waiting() for devices, _ in size.values()}

    def wait(place: int) -> None:
        name = places[place][0].name
        waiting[size[name][0]].add(earliest[place], -rank[name], place)

    for place, count in enumerate(unmet):
        if not count:
            wait(place)
    free, last = [0] * workers, 0  # when each worker is free, in ascending order
    for _ in places:
        starts = ((its.first(free[n - 1]), n) for n, its in waiting.items() if its)
        (start, _, place), devices = min(starts)
        waiting[devices].remove_first()
        job, copy = places[place]
        end = start + size[job.name][1]
        del free[:devices]
        for _ in range(devices):
            insort(free, end)
        last = max(last, end)
        for follower in followers.get((job.name, copy), ()):
            unmet[follower] -= 1
            earliest[follower] = max(earliest[follower], end)
            if not unmet[follower]:
                wait(follower)
    return last


class _Waiting:
    """Copies of jobs that can start as soon as a fixed number of workers is free.

    Two heaps hold them, so that finding the next one takes logarithmic time: by rank those that
    wait for workers alone, and by time those that wait for the end of another job too. The time
    at which the workers are free only grows, so none moves back.
    """

    def __init__(self) -> None:
        self._now: list[tuple[int, int]] = []
        self._later: list[tuple[int, int, int]] = []

    def __bool__(self) -> bool:
        return bool(self._now or self._later)

    def add(self, earliest: int, rank: int, place: int) -> None:
        """Add a copy; of several, the lowest rank starts first, then the lowest place."""
        heappush(self._later, (earliest, rank, place))

    def first(self, free: int) -> tuple[int, int, int]:
        """Start, rank and place of the copy that starts next if the workers are free then."""
        while self._later and self._later[0][0] <= free:
            _, rank, place = heappop(self._later)
            heappush(self._now, (rank, place))
        return (free, *self._now[0]) if self._now else self._later[0]

    def remove_first(self) -> None:
        """Remove the copy that `first` gave."""
        if self._now:
            heappop(self._now)
        else:
            heappop(self._later)


def _ranks(planned: Sequence[Job]) -> Mapping[str, int]:
    """For each job, count the operations in the longest chain that begins with it."""
    spans = {job.name: job.demand.span for job in planned}
    ranks = dict(spans)
    for job in reversed(planned):
        for name in job.after:
            ranks[name] = max(ranks[name], spans[name] + ranks[job.name])
    return ranks


def saved_by_prefixes(study: Study, planned: Sequence[Job]) -> Total:
    """Count stage jobs and operations that pipelines would repeat without shared prefixes.

    A pipeline that only teaches is no row and counts nowhere here.
    """
    flops = {job.pipeline: job.demand.flops for job in planned if job.state}
    wanted = [row for row in study.plan.rows if row not in study.plan.refused]
    alone = [node for row in wanted for node in orderings.prefixes(row) if row != orderings.BASE]
    shared = list(dict.fromkeys(alone))
    work = sum(flops[n] for n in alone) - sum(flops[n] for n in shared)
    seeds = len(study.seeds)
    name = f"saved by shared prefixes, {len(shared)} stages instead of {len(alone)}"
    return Total(name, seeds * (len(alone) - len(shared)), seeds * work)


def saved_by_cache(study: Study, planned: Sequence[Job], assumed: Assumed) -> Total:
    """Count the teacher passes that distillations would repeat in every step without a cache."""
    states = {job.pipeline: job.state for job in planned if job.state}
    online, jobs = 0, 0
    for job in (j for j in planned if j.kind == "distill"):
        stage = study.stages[orderings.last(job.pipeline)]
        around = graph.context(study, stage, assumed, states)
        assert around.teacher is not None
        how = formulas.run_of(stage.settings.training, around)
        # of an exact cache every step makes the logits, as it would without one
        head = None if stage.settings.top_k else 0
        one = demands.forward(around.teacher, "teacher", how.sequences, how.mean, head)
        online += job.copies * one.flops
        jobs += job.copies
    cached = [j for j in planned if j.kind == "teach"]
    passes = sum(j.copies for j in cached)
    work = online - sum(j.copies * j.demand.flops for j in cached)
    name = f"saved by the teacher's cache, {passes} instead of {jobs} passes"
    return Total(name, jobs - passes, work)
