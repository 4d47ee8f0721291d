"""The flag that says what a study's findings compare."""

import argparse
import json

from compression_order.common import declare
from compression_order.common.errors import HarnessError
from compression_order.study.settings import Comparisons


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flag; `Study.comparison_flags` writes it."""
    parser.add_argument(
        "--comparisons", default="{}", metavar="JSON",
        help="the section `comparisons` of a study file, as JSON (default: {}, every default)",
    )  # fmt: skip


def read(args: argparse.Namespace) -> Comparisons:
    """Read the flag.

    Raises:
        HarnessError: it is no such section, or a contrast names a row that --rows does not.
    """
    try:
        told = json.loads(args.comparisons)
    except json.JSONDecodeError as fault:
        raise HarnessError(f"--comparisons is not JSON ({fault}); correct it") from None
    wanted = declare.checked(Comparisons, told, "--comparisons")
    for name, contrast in wanted.contrasts.items():
        absent = [row for row in contrast.rows if row not in args.rows]
        if absent:
            raise HarnessError(
                f"--comparisons: contrasts.{name}: {absent[0]!r} is not one of --rows; correct it"
            )
    return wanted
