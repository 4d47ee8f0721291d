"""python src/made_costs.py --study config.yaml

What making a study's checkpoints took: seconds, memory and how busy the device was, as its
processes recorded them under results/<study>/**/costs/, beside the planned tokens, operations and
bytes; a line a job, and sums along each ordering with and without what a study shares. Writes
results/<study>/costs.csv and prints it; measures nothing.
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from compression_order import (
    errors,
    files,
    making,
    measured,
    plan_text,
    planning,
    settings,
    study_file,
)
from compression_order.errors import HarnessError
from compression_order.evaluation_demands import Assumed
from compression_order.making import Made, Taken
from compression_order.measured import Measured
from compression_order.planning import Job
from compression_order.study import Study
from compression_order.table import MISSING
from compression_order.utilization import FIGURES

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = (
    *("about", "name", "kind", "jobs", "seeds_measured", "tokens", "flops", "written_bytes"),
    *("wall_s", "work_s", "peak_bytes", "utilization_of", "utilization_samples"),
    *(f"utilization_percent_{figure}" for figure in FIGURES),
    *(f"utilization_memory_bytes_{figure}" for figure in FIGURES),
)
# about: one job; an ordering's last stage; an ordering with nothing shared; all orderings
JOB, ADDED, ALONE, TOTAL = "job", "ordering added", "ordering alone", "study"
Row = dict[str, Any]


def parse_args() -> argparse.Namespace:
    """The command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = settings.Parser(description=__doc__, formatter_class=formatter)
    settings.add_study(parser)
    parser.add_argument("--results", type=Path, help="folder of a run (default: results/<study>)")
    parser.add_argument("--csv", type=Path, help="(default: costs.csv in that folder)")
    parser.add_argument(
        "--conversation", type=int, default=0,
        help="mean tokens of a conversation, for planned tokens; 0: the longest allowed "
        "(default: 0)",
    )  # fmt: skip
    return parser.parse_args(sys.argv[1:])


def rows(planned: Sequence[Job], took: Mapping[str, Measured], made: Made) -> Iterator[Row]:
    """The lines of the file."""
    for job in planned:
        its = took.get(job.name)
        row = line(JOB, job.name, making.of_job(job, its)) | {"kind": job.kind}
        copies = {"seeds_measured": its.copies if its else 0}
        yield row | copies | (busy(its.utilization) if its else {})
    for about, orders in ((ADDED, made.added), (ALONE, made.alone)):
        for name, taken in orders.items():
            yield line(about, name, taken)
    yield line(TOTAL, "as made, prefixes and the teacher's cache shared", made.study)
    yield line(TOTAL, "each ordering alone, nothing shared", made.unshared)


def line(about: str, name: str, taken: Taken) -> Row:
    """The columns that jobs and sums have in common; what was not measured is n/a."""
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
    """The columns of utilization: means over the seeds that have it, the largest maximum.

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
    """What the terminal shows."""
    return "\n\n".join((jobs_told(table), orderings_told(table)))


def jobs_told(table: Sequence[Row]) -> str:
    """Every job that has run."""
    header = (
        *("job (one seed)", "seeds", "tokens", "TFLOP", "wall s", "work s", "peak MB"),
        *("written MB", "busy %: mean", "p90", "p95", "max"),
    )
    ran = [row for row in table if row["about"] == JOB and row["seeds_measured"]]
    return plan_text.aligned(
        header,
        [
            (
                row["name"], str(row["seeds_measured"]), f"{row['tokens']:,}",
                plan_text.short(row["flops"] / plan_text.TERA),
                row["wall_s"], row["work_s"], mb(row["peak_bytes"]), mb(row["written_bytes"]),
                *(row.get(f"utilization_percent_{figure}", MISSING) for figure in FIGURES),
            )
            for row in ran
        ],
    )  # fmt: skip


def orderings_told(table: Sequence[Row]) -> str:
    """Every ordering, what it adds beside what it takes alone, and the sums."""
    header = (
        *("ordering (one seed)", "added TFLOP", "added wall s", "alone TFLOP", "alone wall s"),
        *("alone peak MB", "alone written MB"),
    )
    by = {(row["about"], row["name"]): row for row in table}
    names = [row["name"] for row in table if row["about"] == ADDED]
    pairs = [(name, by[ADDED, name], by[ALONE, name]) for name in names]
    totals = [row for row in table if row["about"] == TOTAL]
    pairs.append(("all orderings: shared, alone", totals[0], totals[1]))
    return plan_text.aligned(
        header,
        [
            (
                name, plan_text.short(added["flops"] / plan_text.TERA), added["wall_s"],
                plan_text.short(alone["flops"] / plan_text.TERA), alone["wall_s"],
                mb(alone["peak_bytes"]), mb(alone["written_bytes"]),
            )
            for name, added, alone in pairs
        ],
    )  # fmt: skip


def mb(value: int | str) -> str:
    """Bytes in decimal MB."""
    return value if isinstance(value, str) else f"{value / plan_text.MB:,.1f}"


def read(args: argparse.Namespace, asked: Study, results: Path) -> list[Row]:
    """The lines of a study's file.

    Raises:
        HarnessError: nothing has run.
    """
    assumed = Assumed(args.conversation, question=64, text=300_000, questions=1000)
    planned = planning.jobs(asked, planning.architecture(asked), assumed, ROOT)
    took = measured.of(planned, asked.seeds, results)
    if not took:
        command = "make table" + "".join(f" STUDY={path}" for path in args.study[:1])
        raise HarnessError(f"{results} has no cost records of this study; run `{command}` first")
    return list(rows(planned, took, making.of(asked, planned, took)))


def main() -> None:
    """Read, sum, write, show."""
    args = parse_args()
    if args.conversation < 0:
        raise HarnessError(f"--conversation: {args.conversation} is too small; at least 0")
    asked = study_file.read(args.study, ROOT)
    results = args.results or Path("results", asked.name)
    table = read(args, asked, results)
    out = args.csv or results / "costs.csv"
    with files.replacing(out) as aside, aside.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    print(told(table))
    length = f"of {args.conversation} tokens" if args.conversation else "as long as their cut"
    print(f"""
Tokens, operations and bytes written are planned, for conversations {length}; the rest is measured.
busy: percent of the GPU, or on a CPU of the job's cores, over the seconds with at least 10%.
Written: {out}""")


if __name__ == "__main__":
    errors.run(main)
