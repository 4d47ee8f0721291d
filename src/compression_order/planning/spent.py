"""Rows of costs.csv, the costs of making checkpoints, and their form in the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compression_order.common.writing import MB, MISSING, TERA, aligned, short
from compression_order.costs.utilization import FIGURES
from compression_order.planning import totals
from compression_order.planning.graph import Job
from compression_order.planning.measured import Measured
from compression_order.planning.totals import Made, Taken

COLUMNS = (
    *("about", "name", "kind", "jobs", "seeds_measured", "tokens", "flops", "written_bytes"),
    *("wall_s", "work_s", "peak_bytes", "utilization_of", "utilization_samples"),
    *(f"utilization_percent_{figure}" for figure in FIGURES),
    *(f"utilization_memory_bytes_{figure}" for figure in FIGURES),
)
# what a row is about: one job; an ordering's last stage; an ordering alone; all orderings
JOB, ADDED, ALONE, TOTAL = "job", "ordering added", "ordering alone", "study"
Row = dict[str, Any]


def rows(planned: Sequence[Job], took: Mapping[str, Measured], made: Made) -> Iterator[Row]:
    """The lines of the file."""
    for job in planned:
        its = took.get(job.name)
        row = line(JOB, job.name, totals.of_job(job, its)) | {"kind": job.kind}
        copies = {"seeds_measured": its.copies if its else 0}
        yield row | copies | (busy(its.utilization) if its else {})
    for about, orders in ((ADDED, made.added), (ALONE, made.alone)):
        for name, taken in orders.items():
            yield line(about, name, taken)
    yield line(TOTAL, "as made, prefixes and the teacher's cache shared", made.study)
    yield line(TOTAL, "each ordering alone, nothing shared", made.unshared)


def line(about: str, name: str, taken: Taken) -> Row:
    """Columns that jobs and sums have in common; n/a where nothing was measured."""
    return {
        "about": about,
        "name": name,
        "jobs": taken.jobs,
        "tokens": taken.tokens,
        "flops": taken.flops,
        "written_bytes": taken.written,
        "wall_s": MISSING if taken.wall_s is None else f"{taken.wall_s:.3f}",
        "work_s": MISSING if taken.work_s is None else f"{taken.work_s:.3f}",
        "peak_bytes": MISSING if taken.peak_bytes is None else round(taken.peak_bytes),
    }


def busy(records: Sequence[Mapping[str, Any]]) -> Row:
    """Columns of utilization: means over the seeds that recorded it, and the largest maximum.

    Records of a CPU are left out where another seed computed on a GPU.
    """
    if not records:
        return {}
    of = "gpu" if any(record["of"] == "gpu" for record in records) else "cpu"
    same = [record for record in records if record["of"] == of]
    found: Row = {
        "utilization_of": of,
        "utilization_samples": sum(record["active_samples"] for record in same),
    }
    for key in ("percent", "memory_bytes"):
        its = [record[key] for record in same if key in record]
        for figure in FIGURES if its else ():
            values = [entry[figure] for entry in its]
            value = max(values) if figure == "max" else sum(values) / len(values)
            found[f"utilization_{key}_{figure}"] = f"{value:.0f}"
    return found


def told(table: Sequence[Row]) -> str:
    """Format the costs for the terminal."""
    return "\n\n".join((jobs_told(table), orderings_told(table)))


def jobs_told(table: Sequence[Row]) -> str:
    """Every job that has run."""
    header = (
        *("job (one seed)", "seeds", "tokens", "TFLOP", "wall s", "work s", "peak MB"),
        *("written MB", "busy %: mean", "p90", "p95", "max"),
    )
    ran = [row for row in table if row["about"] == JOB and row["seeds_measured"]]
    return aligned(
        header,
        [
            (
                row["name"], str(row["seeds_measured"]), f"{row['tokens']:,}",
                short(row["flops"] / TERA),
                row["wall_s"], row["work_s"], mb(row["peak_bytes"]), mb(row["written_bytes"]),
                *(row.get(f"utilization_percent_{figure}", MISSING) for figure in FIGURES),
            )
            for row in ran
        ],
    )  # fmt: skip


def orderings_told(table: Sequence[Row]) -> str:
    """List for every ordering its added cost and its cost alone, then the sums."""
    header = (
        *("ordering (one seed)", "added TFLOP", "added wall s", "alone TFLOP", "alone wall s"),
        *("alone peak MB", "alone written MB"),
    )
    by = {(row["about"], row["name"]): row for row in table}
    names = [row["name"] for row in table if row["about"] == ADDED]
    pairs = [(name, by[ADDED, name], by[ALONE, name]) for name in names]
    totals = [row for row in table if row["about"] == TOTAL]
    pairs.append(("all orderings: shared, alone", totals[0], totals[1]))
    return aligned(
        header,
        [
            (
                name, short(added["flops"] / TERA), added["wall_s"],
                short(alone["flops"] / TERA), alone["wall_s"],
                mb(alone["peak_bytes"]), mb(alone["written_bytes"]),
            )
            for name, added, alone in pairs
        ],
    )  # fmt: skip


def mb(value: int | str) -> str:
    """Bytes in decimal MB."""
    return value if isinstance(value, str) else f"{value / MB:,.1f}"
