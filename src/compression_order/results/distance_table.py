"""Write commutators.csv, the effect of swapping neighbouring stages: one line per pair and seed.

KL is in nats per token; standard errors are over conversations. KL from base comes from the
evaluations and compares the effect of compression with the effect of the order.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.common.writing import aligned, csv_of_rows

MEANS = ("kl_first_second", "kl_second_first", "top1")
COLUMNS = (
    *("first", "second", "seed", "tokens"),
    *(f"{key}{ending}" for key in MEANS for ending in ("", "_se")),
    *("kl_base_first", "kl_base_second"),
)
Row = dict[str, Any]


def row(path: Path) -> Row:
    """The line of one record, which lies in seed<k>/commutators/.

    Raises:
        HarnessError: the record or an evaluation is incomplete, or their samples differ.
    """
    record = files.read_json(path)
    try:
        found = {
            "first": record["first"],
            "second": record["second"],
            "seed": path.parents[1].name.removeprefix("seed"),
            "tokens": record["tokens"],
        }
        for key in MEANS:
            found |= {key: f"{record[key]['mean']:.5f}", f"{key}_se": f"{record[key]['se']:.5f}"}
        for which in ("first", "second"):
            scored = path.parents[1] / "evaluations" / record[which] / "fidelity.json"
            fidelity = files.read_json(scored)
            if fidelity["sample_sha256"] != record["sample_sha256"]:
                raise HarnessError(
                    f"{path} and {scored} are of different samples; delete the first and run "
                    "`make commutators` again"
                )
            found[f"kl_base_{which}"] = f"{fidelity['kl']:.5f}"
    except (KeyError, TypeError) as fault:
        raise HarnessError(
            f"{path} is not whole ({type(fault).__name__}: {fault}); delete it and run "
            "`make commutators` again"
        ) from None
    return found


def told(table: Sequence[Row]) -> str:
    """The table as the terminal shows it."""
    header = (
        *("first", "second", "seed", "KL(first||second)", "KL(second||first)"),
        *("top-1 agree", "KL(base||first)", "KL(base||second)"),
    )
    lines = [
        (
            line["first"], line["second"], line["seed"],
            *(f"{line[key]} ± {line[f'{key}_se']}" for key in MEANS),
            line["kl_base_first"], line["kl_base_second"],
        )
        for line in table
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
            f"commutators: no two pipelines of the study {study} differ by a swap of two "
            "neighbouring stages; add such orderings, P-Q and Q-P say"
        )
    table = [row(path) for path in records]
    files.write_text(out, csv_of_rows(COLUMNS, table))
    print(told(table))
