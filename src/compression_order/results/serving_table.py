"""Write serving.csv, the cost of serving: one line per checkpoint and batch size.

The columns up to macs_1x64 do not depend on the machine, the others do.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.common.writing import MISSING, aligned, csv_of_rows

EXACT = ("format", "parameters", "nonzero", "disk_bytes", "memory_bytes")
TIMES = ("prefill_s", "decode_s_per_token", "tokens_per_s")
STATISTICS = ("median", "min", "max")
COLUMNS = (
    *("pipeline", "seed", *EXACT, "macs_1x64"),
    *("device", "threads", "batch", "prompt", "new_tokens", "repeats"),
    *(f"{time}_{statistic}" for time in TIMES for statistic in STATISTICS),
    *("peak_rss_bytes", "peak_device_bytes", "joules_per_token", "energy_source"),
)
Row = dict[str, Any]


def rows(path: Path) -> Iterator[Row]:
    """The lines of one record, which lies in seed<k>/costs/<pipeline>/.

    Raises:
        HarnessError: it is not whole.
    """
    record = files.read_json(path)
    try:
        for its in record["measured"]:
            yield _row(path, record, its)
    except (KeyError, TypeError) as fault:
        raise HarnessError(
            f"{path} is not whole ({type(fault).__name__}: {fault}); delete it and run "
            "`make serving` again"
        ) from None


def _row(path: Path, record: Mapping[str, Any], its: Mapping[str, Any]) -> Row:
    exact, asked = record["exact"], record["settings"]
    drawn = its["joules_per_token"]
    return {
        "pipeline": path.parent.name,
        "seed": path.parents[2].name.removeprefix("seed"),
        **{key: exact[key] for key in EXACT},
        "macs_1x64": exact["macs_1x64"]["total"],
        "device": record.get("device", "cpu"),
        "threads": record["threads"],
        "batch": its["batch"],
        **{key: asked[key] for key in ("prompt", "new_tokens", "repeats")},
        **{f"{t}_{s}": f"{its[t][s]:.6g}" for t in TIMES for s in STATISTICS},
        "peak_rss_bytes": record["peak_rss_bytes"],
        "peak_device_bytes": its.get("peak_device_bytes", MISSING),
        "joules_per_token": MISSING if drawn is None else f"{drawn:.6g}",
        "energy_source": its["energy_source"] or MISSING,
    }


def told(table: Sequence[Row]) -> str:
    """The table as the terminal shows it."""
    header = (
        *("pipeline", "seed", "batch", "MiB disk", "MiB memory", "GMAC (1, 64)"),
        *("prefill ms", "decode ms/token", "token/s", "(min to max)", "J/token"),
    )
    lines = [
        (
            row["pipeline"], str(row["seed"]), str(row["batch"]),
            *(f"{row[key] / 2**20:.1f}" for key in ("disk_bytes", "memory_bytes")),
            f"{row['macs_1x64'] / 1e9:.2f}",
            *(f"{1e3 * float(row[f'{key}_median']):.2f}" for key in TIMES[:2]),
            f"{float(row['tokens_per_s_median']):.1f}",
            f"({float(row['tokens_per_s_min']):.1f} to {float(row['tokens_per_s_max']):.1f})",
            row["joules_per_token"],
        )
        for row in table
    ]  # fmt: skip
    return aligned(header, lines)


def write(study: str, records: Sequence[Path], out: Path) -> None:
    """Read every record, write the table, show it.

    Args:
        study: its name, for messages.
        records: of the study.
        out: the CSV file.

    Raises:
        HarnessError: there is no record, or one is not whole.
    """
    if not records:
        raise HarnessError(
            f"serving: the study {study} does not say how to measure it; add the key `serving`, "
            "such as {batch_sizes: [1, 4], prompt: 64, new_tokens: 32, repeats: 5, warmup: 1}"
        )
    table = [row for path in records for row in rows(path)]
    files.write_text(out, csv_of_rows(COLUMNS, table))
    print(told(table))
    if all(row["joules_per_token"] == MISSING for row in table):
        print("energy: no counter that this process may read (NVML, RAPL)")
