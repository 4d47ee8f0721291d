"""Flags that name a study's rows, seeds and arms, shared by scripts that read its evaluations."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.results import guards, published, table
from compression_order.results.guards import Records
from compression_order.results.published import Published


@dataclass(frozen=True)
class Asked:
    """A study's rows with their measurements."""

    study: str
    rows: list[str]
    refused: Mapping[str, str]
    arms: Mapping[str, list[str]]
    kinds: Mapping[str, str]
    records: Records
    figures: Published | None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags; `Study.table_flags` and `Study.row_flags` write them."""
    study = parser.add_argument_group("what it is about")
    study.add_argument("--study", required=True, help="name of the study, for the caption")
    study.add_argument("--results", required=True, type=Path, help="folder results/<study>")
    study.add_argument("--rows", required=True, nargs="+", help="pipelines in table order")
    study.add_argument("--seeds", required=True, nargs="+", type=int, help="seeds that were run")
    study.add_argument(
        "--refused", nargs="*", default=[], metavar="PIPELINE=REASON",
        help="rows that cannot exist and why (default: none)",
    )  # fmt: skip
    study.add_argument(
        "--arms", nargs="*", default=[], metavar="ARM=PIPELINE,PIPELINE",
        help="arms of the study with their rows (default: none)",
    )  # fmt: skip
    study.add_argument(
        "--kinds", nargs="*", default=[], metavar="TOKEN=KIND",
        help="what each stage is: prune, distill, finetune or quantize (default: not known)",
    )  # fmt: skip
    study.add_argument(
        "--judged", action="store_true", help="read the verdicts of the judge too (default: no)"
    )
    beside = parser.add_argument_group("published figures")
    beside.add_argument("--published", help="study in the published figures (default: none)")
    beside.add_argument(
        "--published-csv", type=Path, default=files.WORKFLOW / "published/published.csv"
    )


def read(args: argparse.Namespace) -> Asked:
    """Read and check the rows that the flags name.

    Raises:
        HarnessError: a request that describes no table, or evaluations that do not belong
            together.
    """
    refused = pairs("--refused", args.refused)
    arms = {arm: its.split(",") for arm, its in pairs("--arms", args.arms).items()}
    table.require_known(args.rows, args.seeds, refused)
    available = [r for r in args.rows if r not in refused]
    records = guards.load(args.results, available, args.seeds, args.judged)
    figures = published.read(args.published_csv, args.published) if args.published else None
    kinds = pairs("--kinds", args.kinds)
    return Asked(args.study, args.rows, refused, arms, kinds, records, figures)


def pairs(flag: str, pairs: Sequence[str]) -> dict[str, str]:
    """`Q-KD=KD refuses ...` as {"Q-KD": "KD refuses ..."}."""
    for pair in pairs:
        if not all(pair.partition("=")):
            raise HarnessError(f"{flag} {pair!r} has no name, `=` and value; write all three")
    return dict(pair.split("=", 1) for pair in pairs)
