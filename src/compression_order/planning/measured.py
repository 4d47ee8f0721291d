"""Measured costs of the jobs of a plan, from the cost records beside their results.

Records of jobs outside the plan are skipped. A resumed stage has only the record of its last
process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.costs import utilization
from compression_order.planning.graph import Job

FIELDS = ("wall_s", "work_s", "peak_rss_bytes")


@dataclass(frozen=True)
class Measured:
    """One job as it ran: means over the copies that have a record.

    Attributes:
        copies: how many have one.
        wall_s: seconds from the start of the process to its end.
        work_s: of these, seconds without starting, imports and loading, as a plan counts them.
        peak_bytes: memory at its peak: of the GPU where it computed on one, else resident
            memory with libraries.
        utilization: how busy its device was, one record a copy, as `utilization.summary` gives it.
    """

    copies: int
    wall_s: float
    work_s: float
    peak_bytes: float
    utilization: tuple[Mapping[str, Any], ...] = ()


def of(planned: Sequence[Job], seeds: Sequence[int], results: Path) -> dict[str, Measured]:
    """The jobs of a plan that have run: name -> what it took.

    Args:
        planned: the jobs.
        seeds: of the study.
        results: folder results/<study>.

    Raises:
        HarnessError: a cost record is damaged.
    """
    found = {}
    for job in planned:
        paths = [path for path in _paths(job, seeds, results) if path.is_file()]
        records = [_read(path) for path in paths]
        if records:
            figures = zip(*records, strict=True)
            wall, work, peak = (sum(values) / len(records) for values in figures)
            found[job.name] = Measured(len(records), wall, work, peak, _busy(paths))
    return found


def _busy(paths: Sequence[Path]) -> tuple[Mapping[str, Any], ...]:
    """Device utilization of each copy that recorded it; older records have none."""
    found = []
    for path in paths:
        its = files.read_json(path).get("utilization")
        if its is not None and not utilization.is_summary(its):
            raise HarnessError(f"{path}: utilization is {its!r}, not whole; delete the file")
        found += [its] if its else []
    return tuple(found)


def _paths(job: Job, seeds: Sequence[int], results: Path) -> list[Path]:
    """Paths where the rules make the copies of a job write costs; `meter.Costs` names the file."""
    if job.pipeline:
        return [_record(results / f"seed{seed}", job.pipeline, job.kind) for seed in seeds]
    folders = [results / f"seed{seed}" for seed in seeds] if job.each_seed else [results]
    return [_record(folder, job.name.replace(" ", "."), job.kind) for folder in folders]


def _record(folder: Path, name: str, kind: str) -> Path:
    return folder / "costs" / name / f"{kind}.json"


def timeline(seed: Path, pipeline: str, kind: str) -> Path:
    """Path of the file to which a stage writes its device utilization, second by second.

    Args:
        seed: folder results/<study>/seed<k>.
        pipeline: of the checkpoint that the stage makes.
        kind: of the stage.
    """
    return _record(seed, pipeline, kind).with_suffix(".utilization.csv")


def _read(path: Path) -> tuple[float, ...]:
    """The figures of one record, in the order of `FIELDS`."""
    record = files.read_json(path)
    keys = [key for key in FIELDS if key != "peak_rss_bytes"]
    on_gpu = isinstance(record, dict) and "peak_device_bytes" in record
    keys.append("peak_device_bytes" if on_gpu else "peak_rss_bytes")
    for key in keys:
        value = record.get(key) if isinstance(record, dict) else None
        if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
            raise HarnessError(f"{path}: {key} is {value!r}, not a number; delete the file")
    return tuple(float(record[key]) for key in keys)


def columns(hours: float, peak_bytes: int, took: Measured | None) -> dict[str, Any]:
    """Columns of plan.csv that compare the planned and the measured costs of one job.

    Args:
        hours: planned, of computing alone.
        peak_bytes: planned, as it is measured: on a CPU with libraries and files.
        took: what was measured, if it ran.
    """
    if took is None:
        return {}
    return {
        "measured_copies": took.copies,
        "measured_s": f"{took.wall_s:.3f}",
        "measured_work_s": f"{took.work_s:.3f}",
        "measured_peak_bytes": round(took.peak_bytes),
        "time_ratio": f"{hours * 3600 / took.work_s:.3g}" if took.work_s else "",
        "memory_ratio": f"{peak_bytes / took.peak_bytes:.3g}" if took.peak_bytes else "",
    }
