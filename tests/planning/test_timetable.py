"""The schedule of a plan: the same as by rescanning all jobs at each step, in far less time."""

import random
import time
from collections.abc import Sequence

import pytest

from compression_order.architecture.demands import Demand, Part
from compression_order.architecture.memory import Memory
from compression_order.planning import timetable
from compression_order.planning.graph import Job


def job(name: str, after: Sequence[str], flops: int, devices: int = 1, copies: int = 1) -> Job:
    demand = Demand((Part(name, 0, flops, devices),), Memory(0), 0, 0)
    return Job(name, "prune", name, copies, tuple(after), demand)


def rescanned(planned: Sequence[Job], workers: int) -> int:
    """Look at every waiting copy before each start: the definition, in quadratic time."""
    copies = {job.name: job.copies for job in planned}
    pending = [(job, copy) for job in planned for copy in range(job.copies)]
    free, ends = [0] * workers, dict[tuple[str, int], int]()

    def chain(name: str) -> int:
        its = next(job for job in planned if job.name == name)
        after = [chain(job.name) for job in planned if name in job.after]
        return its.demand.span + max(after, default=0)

    ranks = {job.name: chain(job.name) for job in planned}

    def earliest(job: Job, copy: int) -> int | None:
        needs = [(name, copy if copies[name] > 1 else 0) for name in job.after]
        return max((ends[n] for n in needs), default=0) if all(n in ends for n in needs) else None

    while pending:
        starts = [
            (max(sorted(free)[job.demand.devices - 1], at), -ranks[job.name], place)
            for place, (job, copy) in enumerate(pending)
            if (at := earliest(job, copy)) is not None
        ]
        start, _, place = min(starts)
        job, copy = pending.pop(place)
        ends[job.name, copy] = start + job.demand.span
        free = sorted(free)[job.demand.devices :] + [ends[job.name, copy]] * job.demand.devices
    return max(ends.values())


def drawn(seed: int) -> tuple[list[Job], int]:
    """A small random plan, with few different lengths so that many starts and ranks are equal."""
    draw = random.Random(seed)
    workers, copies = draw.choice((1, 2, 3, 5)), draw.choice((1, 1, 2, 3))
    jobs: list[Job] = []
    for n in range(draw.randint(1, 12)):
        earlier = [its.name for its in jobs]
        after = draw.sample(earlier, min(len(earlier), draw.choice((0, 1, 1, 2))))
        alone = draw.random() < 0.3
        devices = draw.randint(1, workers) if seed % 2 else 1
        flops = draw.choice((0, 1, 2, 3, 7))
        jobs.append(job(f"j{n}", after, flops, devices, 1 if alone else copies))
    return jobs, workers


@pytest.mark.parametrize("first", range(0, 600, 100))
def test_the_schedule_is_that_of_rescanning_all_jobs(first: int) -> None:
    for seed in range(first, first + 100):
        jobs, workers = drawn(seed)
        assert timetable.side_by_side(jobs, workers) == rescanned(jobs, workers), seed


def test_a_job_of_several_devices_waits_for_all_of_them() -> None:
    jobs = [job("short", [], 2), job("long", [], 5), job("wide", ["short"], 6, devices=2)]
    assert timetable.side_by_side(jobs, 2) == 5 + 3
    assert timetable.side_by_side(jobs, 3) == 2 + 3


@pytest.mark.parametrize("workers", [1, 8])
def test_the_schedule_of_twenty_thousand_jobs_takes_seconds(workers: int) -> None:
    """Rescanning all of them takes more than an hour."""
    draw = random.Random(0)
    jobs = [job("j0", [], 1, copies=2)]
    for n in range(1, 10_000):
        devices = draw.randint(1, workers)
        jobs.append(job(f"j{n}", [f"j{n // 6}"], draw.randint(1, 10**9), devices, copies=2))
    begun = time.process_time()
    done = timetable.side_by_side(jobs, workers)
    assert time.process_time() - begun < 10
    assert done >= 2 * sum(its.demand.flops for its in jobs) / workers
