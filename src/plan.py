r"""python src/plan.py --study config.yaml --device cpu-2-cores --utilization 0.3

Say what a study will take before anything runs: sizes, operations, memory, hours. Needs no
weights, no network and no torch. Writes one row a job, a part of a job or a total, all figures
of one copy of a job: results/<study>/plan.csv. After a run what the jobs took (costs/) stands
beside what was planned; without one these cells are empty.
"""

import argparse
import csv
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compression_order import (
    devices,
    errors,
    files,
    measured,
    plan_text,
    planning,
    settings,
    shapes,
    study,
    study_file,
    timetable,
)
from compression_order.analysis import foresight, normal_power
from compression_order.errors import HarnessError
from compression_order.evaluation_demands import Assumed
from compression_order.measured import Measured
from compression_order.planning import Job

ROOT = Path(__file__).resolve().parents[1]
MIB, GB = 2**20, 1e9
PROMPT = 64  # tokens of the input whose multiply-accumulates are counted
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
        """The columns of work: all operations, and the hours of those that a worker waits for."""
        return {
            "flops": flops,
            "hours": f"{timetable.hours(span, self.device, self.utilization):.6g}",
            "device": self.name,
            "utilization": self.utilization,
        }


def parse_args() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = settings.Parser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    settings.add_study(parser)
    add("--architecture", help="plan for architectures/NAME.json (default: the study's model)")
    add("--csv", type=Path, help="file to write (default: results/<study>/plan.csv)")
    add("--results", type=Path, help="folder of a run (default: results/<study>)")
    group = parser.add_argument_group("device")
    known = ", ".join(devices.DEVICES)
    usual = ", ".join(f"{name} for {where}" for where, name in devices.USUAL.items())
    group.add_argument("--device", help=f"{known} (default: by the study's device, {usual})")
    group.add_argument(
        "--utilization", type=float, default=0.3, help="share of its peak, 0 to 1 (default: 0.3)"
    )
    assumed = parser.add_argument_group("what the data decide, assumed here")
    for name, value, meaning in (
        ("conversation", 0, "mean tokens of a conversation; 0: the longest allowed"),
        ("question", 64, "tokens of a question with one answer"),
        ("text", 300_000, "tokens of a text that is scored whole (max_tokens: 0)"),
        ("questions", 1000, "questions of a set that is asked whole (0)"),
        ("paired-sd", normal_power.PAIRED_SD, "of two orders over conversations, nats per token"),
    ):
        assumed.add_argument(
            f"--{name}", type=type(value), default=value, help=f"{meaning} (default: {value})"
        )
    return parser.parse_args(sys.argv[1:])


def check(args: argparse.Namespace) -> None:
    """Refuse numbers out of their range."""
    if not 0 < args.utilization <= 1:
        raise HarnessError(
            f"--utilization: {args.utilization} is not a share; give more than 0, at most 1"
        )
    if not 0 < args.paired_sd < math.inf:
        raise HarnessError(f"--paired-sd: {args.paired_sd} is no spread; give more than 0")
    for name, least in (("conversation", 0), ("question", 1), ("text", 1), ("questions", 1)):
        if getattr(args, name) < least:
            raise HarnessError(f"--{name}: {getattr(args, name)} is too small; at least {least}")


def rows(
    planned: Sequence[Job],
    totals: Sequence[timetable.Total],
    pace: Pace,
    took: Mapping[str, Measured],
) -> Iterator[Row]:
    base = planned[0].state
    assert base is not None
    for job in planned:
        hours = timetable.hours(job.demand.span, pace.device, pace.utilization)
        beside = measured.columns(hours, job.demand.memory.peak, took.get(job.name))
        yield {**job_row(job, base.bytes, pace), **beside}
        for part in job.demand.parts:
            named = {"kind": "part", "job": job.name, "part": part.name, "copies": job.copies}
            yield {**named, "tokens": part.tokens, **pace.of(part.flops, part.span)}
    for total in totals:
        work = pace.of(total.flops, total.flops)
        yield {"kind": "total", "job": total.name, "copies": total.jobs, **work}


def job_row(job: Job, base_bytes: int, pace: Pace) -> Row:
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


def write(path: Path, table: Sequence[Row]) -> None:
    with files.replacing(path) as aside, aside.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def tell(table: Sequence[Row], planned: Sequence[Job], path: Sequence[str], pace: Pace) -> None:
    views = (plan_text.pipelines, plan_text.demanded, plan_text.parts, plan_text.summed)
    print(*(view(table) for view in views), sep="\n\n")
    print(f"\ncritical path: {' > '.join(path)}")
    if any("measured_s" in row for row in table):
        print(
            f"\n{plan_text.beside(table)}\nratios are planned for {pace.name} over measured "
            "where it ran; peaks are of the GPU, else "
            "resident memory with libraries"
        )
    room = pace.device.memory
    for job in planned:
        if room is not None and job.demand.memory.peak > room:
            needs = job.demand.memory.peak / GB
            print(f"does not fit: {job.name} needs {needs:.1f} GB of {room / GB:.1f} GB")


def told(args: argparse.Namespace, pace: Pace) -> str:
    """What the figures rest on."""
    length = f"{args.conversation} tokens" if args.conversation else "as long as their cut allows"
    held_out = f"{args.conversation} tokens too" if args.conversation else "a window of tokens"
    return f"""
MB and TFLOP are decimal, memory is in MB at the peak of a job and without libraries (of a GPU:
the teacher's cache is then in the host's, and not in the peak), and a multiply-accumulate is two
operations. Figures are of one copy of a job, totals of all.
Assumed: {pace.name}: {pace.device.source};
{pace.utilization:.0%} of that, for computing alone: no start-up, loading or optimizer;
conversations {length} (held-out ones are not cut: {held_out}),
questions of {args.question} tokens (hub tasks: as in tasks/hub/index.yaml), \
whole texts of {args.text:,} tokens, whole sets of {args.questions:,} questions (--help);
for power: a paired standard deviation of {args.paired_sd:g} nats between two orders, as measured on
the default study, and {normal_power.FLIPS:.0%} of the questions answered right by one of two alone.
Not planned: fetching the data, and fetching, converting or making the model."""


def main() -> None:
    args = parse_args()
    check(args)
    asked = study_file.read(args.study, ROOT)
    device = args.device or devices.USUAL[asked.device]
    pace = Pace(device, devices.named(device), args.utilization)
    assumed = Assumed(args.conversation, args.question, args.text, args.questions)
    shape = planning.architecture(asked, args.architecture)
    planned = planning.jobs(asked, shape, assumed, ROOT)
    path = timetable.critical_path(planned)
    results = args.results or Path("results", asked.name)
    # what ran is the study's own model
    took = {} if args.architecture else measured.of(planned, asked.seeds, results)
    table = list(rows(planned, totals(asked, planned, path, assumed, pace), pace, took))
    suffix = f".{args.architecture}" if args.architecture else ""
    out = args.csv or Path("results", asked.name, f"plan{suffix}.csv")
    write(out, table)
    tell(table, planned, path, pace)
    print("\npower (80%, 5% two-sided):", *foresight.lines(asked, args.paired_sd), sep="\n- ")
    print(told(args, pace))
    print(f"Written: {out}")


def totals(
    asked: study.Study,
    planned: Sequence[Job],
    path: Sequence[str],
    assumed: Assumed,
    pace: Pace,
) -> list[timetable.Total]:
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


if __name__ == "__main__":
    errors.run(main)
