"""Format a plan for the terminal: the rows of plan.csv, shortened."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from compression_order.architecture.demands import Assumed
from compression_order.architecture.memory import LIBRARIES
from compression_order.common.writing import MB, TERA, aligned, short
from compression_order.planning.graph import Job
from compression_order.planning.sheet import GB, Pace
from compression_order.statistics import normal_power

MEMORY = ("weights", "gradients", "optimizer", "teacher", "activations", "peak")
SHORT = ("weights", "grads", "optim", "teacher", "activ", "peak")
Row = Mapping[str, Any]


def pipelines(table: Sequence[Row]) -> str:
    """Sizes of every checkpoint."""
    header = ("pipeline", "parameters", "bytes", "MiB", "ratio", "GMAC (1, 64)")
    stored = [row for row in table if "parameters" in row]
    keys = ("parameters", "bytes")
    return aligned(
        header,
        [
            (
                row["pipeline"],
                *(f"{row[k]:,}" for k in keys),
                row["mib"],
                row["compression_ratio"],
                f"{row['macs_1x64'] / 1e9:.2f}",
            )
            for row in stored
        ],
    )


def demanded(table: Sequence[Row]) -> str:
    """Show the costs of one copy of every job; bytes in MB."""
    header = ("job", "copies", "tokens", "TFLOP", "hours", *SHORT, "read", "written")
    lines = []
    for row in (r for r in table if "peak_bytes" in r):
        taken = (f"{row[f'{key}_bytes'] / MB:,.0f}" for key in (*MEMORY, "read", "written"))
        work = short(row["flops"] / TERA), short(row["hours"])
        lines.append((row["job"], str(row["copies"]), f"{row['tokens']:,}", *work, *taken))
    return aligned(header, lines)


def parts(table: Sequence[Row]) -> str:
    """The evaluations, of the base."""
    own = [row for row in table if row.get("part") and row["job"] == "measure base"]
    lines = [(r["part"], f"{r['tokens']:,}", short(r["flops"] / TERA)) for r in own]
    return aligned(("evaluation of base", "tokens", "TFLOP"), lines)


def summed(table: Sequence[Row]) -> str:
    """The totals."""
    lines = [
        (row["job"], str(row["copies"]), short(row["flops"] / TERA), short(row["hours"]))
        for row in table
        if row["kind"] == "total"
    ]
    return aligned(("total", "jobs", "TFLOP", "hours"), lines)


def beside(table: Sequence[Row]) -> str:
    """Compare plan and measurement: one line per job that ran, and sums over measured copies.

    Seconds are means over copies. Planned seconds and `work` count computing alone. Ratios are
    planned over measured.
    """
    header = (
        *("planned and measured", "copies", "planned s", "work s", "ratio", "with start s"),
        *("planned MB", "peak MB", "ratio"),
    )
    ran = [row for row in table if "measured_s" in row]
    lines = []
    for row in ran:
        memory = (f"{row[key] / MB:,.0f}" for key in ("peak_bytes", "measured_peak_bytes"))
        time = short(_planned(row)), short(row["measured_work_s"]), row["time_ratio"]
        copies = f"{row['measured_copies']} of {row['copies']}"
        lines.append(
            (row["job"], copies, *time, short(row["measured_s"]), *memory, row["memory_ratio"])
        )
    sums = [
        sum(row["measured_copies"] * seconds(row) for row in ran)
        for seconds in (_planned, _seconds("measured_work_s"), _seconds("measured_s"))
    ]
    copies = sum(row["measured_copies"] for row in ran)
    every = sum(row["copies"] for row in table if "peak_bytes" in row)
    ratio = f"{sums[0] / sums[1]:.3g}" if sums[1] else ""
    planned, work, wall = map(short, sums)
    lines.append(("sum", f"{copies} of {every}", planned, work, ratio, wall, "", "", ""))
    return aligned(header, lines)


def _planned(row: Row) -> float:
    return float(row["hours"]) * 3600


def _seconds(key: str) -> Callable[[Row], float]:
    return lambda row: float(row[key])


def told(
    table: Sequence[Row], planned: Sequence[Job], path: Sequence[str], pace: Pace
) -> Iterator[str]:
    """Build the blocks of text for the terminal.

    Args:
        table: the rows of plan.csv.
        planned: the jobs.
        path: the names of the critical path.
        pace: where it is planned for.
    """
    yield from (view(table) for view in (pipelines, demanded, parts, summed))
    yield f"critical path: {' > '.join(path)}"
    if any("measured_s" in row for row in table):
        yield (
            f"{beside(table)}\nratios are planned for {pace.name} over measured where it ran; "
            "peaks are of the GPU, else resident memory with libraries"
        )
    room = pace.device.memory
    for job in planned:
        if room is not None and job.demand.memory.peak > room:
            needs = job.demand.memory.peak / GB
            yield f"does not fit: {job.name} needs {needs:.1f} GB of {room / GB:.1f} GB"


def premises(pace: Pace, assumed: Assumed, paired_sd: float, seed_sd: float) -> str:
    """State the assumptions behind the figures."""
    length = f"{assumed.conversation} tokens" if assumed.conversation else "as long as their cut"
    held_out = (
        f"{assumed.conversation} tokens too" if assumed.conversation else "a window of tokens"
    )
    return f"""
MB and TFLOP are decimal, memory is in MB at the peak of a job and without libraries (of a GPU:
the teacher's cache is then in the host's, and not in the peak), and a multiply-accumulate is two
operations. On a CPU a process holds {LIBRARIES / MB:.0f} MB of libraries beside that, and the files
that it loads. Figures are of one copy of a job, totals of all.
Assumed: {pace.name}: {pace.device.source};
{pace.utilization:.0%} of that, for computing alone: no start-up, loading or optimizer;
conversations {length} (held-out ones are not cut: {held_out}),
questions of {assumed.question} tokens (hub tasks: as in tasks/hub/index.yaml), \
whole texts of {assumed.text:,} tokens, whole sets of {assumed.questions:,} questions (--help);
for power: a paired standard deviation of {paired_sd:g} nats between two orders, one of {seed_sd:g}
nats of an order over seeds, both as measured (docs/findings.md), and {normal_power.FLIPS:.0%} of
the questions answered right by one of two alone.
Not planned: fetching the data, and fetching, converting or making the model."""
