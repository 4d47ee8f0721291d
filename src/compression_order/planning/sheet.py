"""Rows of plan.csv: one per job, part of a job or total, with figures for one copy of a job."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compression_order.architecture import shapes
from compression_order.architecture.demands import Assumed
from compression_order.common.writing import MIB
from compression_order.planning import devices, measured, timetable
from compression_order.planning.graph import Job
from compression_order.planning.measured import Measured
from compression_order.study.study import Study

GB = 1e9
PROMPT = 64  # length of the input for which multiply-accumulates are counted, tokens
COLUMNS = (
    *("kind", "job", "part", "pipeline", "copies", "after"),
    *("parameters", "bytes", "mib", "compression_ratio", "macs_1x64"),
    *("tokens", "flops", "hours", "device", "devices", "utilization"),
    *("weights_bytes", "gradients_bytes", "optimizer_bytes", "teacher_bytes"),
    *("activations_bytes", "peak_bytes", "read_bytes", "written_bytes"),
    *("measured_copies", "measured_s", "measured_work_s", "measured_peak_bytes"),
    *("time_ratio", "memory_ratio"),
)
Row = dict[str, Any]


@dataclass(frozen=True)
class Pace:
    """A device at an assumed share of its peak."""

    name: str
    device: devices.Device
    utilization: float

    def of(self, flops: int, span: int) -> Row:
        """Columns of work: all operations, and the hours of the `span` that run in sequence."""
        return {
            "flops": flops,
            "hours": f"{timetable.hours(span, self.device, self.utilization):.6g}",
            "device": self.name,
            "utilization": self.utilization,
        }


def rows(
    planned: Sequence[Job],
    totals: Sequence[timetable.Total],
    pace: Pace,
    took: Mapping[str, Measured],
) -> Iterator[Row]:
    """The rows, job after job, then the totals.

    Args:
        planned: the jobs.
        totals: figures about all of them.
        pace: where it is planned for.
        took: what the jobs that have run took.
    """
    base = planned[0].state
    assert base is not None
    for job in planned:
        hours = timetable.hours(job.demand.span, pace.device, pace.utilization)
        # a process on a CPU holds its libraries and files too; a GPU tells its own memory
        held = job.demand.resident if pace.device.memory is None else job.demand.memory.peak
        beside = measured.columns(hours, held, took.get(job.name))
        yield {**job_row(job, base.bytes, pace), **beside}
        for part in job.demand.parts:
            named = {"kind": "part", "job": job.name, "part": part.name, "copies": job.copies}
            yield {**named, "tokens": part.tokens, **pace.of(part.flops, part.span)}
    for total in totals:
        work = pace.of(total.flops, total.flops)
        yield {"kind": "total", "job": total.name, "copies": total.jobs, **work}


def job_row(job: Job, base_bytes: int, pace: Pace) -> Row:
    """The row of one job."""
    demand, memory = job.demand, job.demand.memory
    row: Row = {
        "kind": job.kind,
        "job": job.name,
        "pipeline": job.pipeline,
        "copies": job.copies,
        "after": " + ".join(job.after),
        "tokens": demand.tokens,
        "weights_bytes": memory.weights,
        "gradients_bytes": memory.gradients,
        "optimizer_bytes": memory.optimizer,
        "teacher_bytes": memory.teacher,
        "activations_bytes": memory.activations,
        "peak_bytes": memory.peak,
        "read_bytes": demand.read,
        "written_bytes": demand.written,
        "devices": demand.devices,
        **pace.of(demand.flops, demand.span),
    }
    if job.state:
        row |= {
            "parameters": job.state.shape.parameters,
            "bytes": job.state.bytes,
            "mib": f"{job.state.bytes / MIB:.1f}",
            "compression_ratio": f"{base_bytes / job.state.bytes:.4f}",
            "macs_1x64": shapes.macs(job.state.shape, 1, PROMPT, PROMPT).total,
        }
    return row


def totals(
    asked: Study,
    planned: Sequence[Job],
    path: Sequence[str],
    assumed: Assumed,
    pace: Pace,
) -> list[timetable.Total]:
    """The figures about a whole plan."""
    spans: Mapping[str, int] = {job.name: job.demand.span for job in planned}
    everything = timetable.all_jobs(planned)
    workers = max(pace.device.workers, *(job.demand.devices for job in planned))
    beside = timetable.side_by_side(planned, workers)
    return [
        everything,
        timetable.Total(f"until done, {workers} at a time", everything.jobs, beside),
        timetable.Total("critical path", len(path), sum(spans[name] for name in path)),
        timetable.saved_by_prefixes(asked, planned),
        timetable.saved_by_cache(asked, planned, assumed),
    ]
