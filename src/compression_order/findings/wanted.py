"""Flags that say which comparisons a study wants beside those that every study has."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from compression_order.common.errors import HarnessError

SAME_STAGES, ALL = "same-stages", "all"


@dataclass(frozen=True)
class Wanted:
    """Which comparisons a study wants.

    Attributes:
        all_pairs: whether every two rows of an arm are compared, and every comparison listed.
        contrasts: declared comparisons, the first row over the second.
    """

    all_pairs: bool = False
    contrasts: Sequence[tuple[str, str]] = ()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags; `Study.comparison_flags` writes them."""
    group = parser.add_argument_group("which comparisons")
    group.add_argument(
        "--pairs", choices=(SAME_STAGES, ALL), default=SAME_STAGES,
        help="same-stages = every two orders of the same stages; all = every two rows too "
        "(default: same-stages)",
    )  # fmt: skip
    group.add_argument(
        "--contrasts", nargs="*", default=[], metavar="FIRST,SECOND",
        help="comparisons of two rows, corrected as a family of their own (default: none)",
    )  # fmt: skip


def read(args: argparse.Namespace) -> Wanted:
    """Read the flags.

    Raises:
        HarnessError: a contrast that is not of two rows of the study.
    """
    contrasts = []
    for contrast in args.contrasts:
        first, _, second = contrast.partition(",")
        if first not in args.rows or second not in args.rows or first == second:
            raise HarnessError(
                f"--contrasts {contrast!r} is not two rows of --rows, joined by a comma; correct it"
            )
        contrasts.append((first, second))
    return Wanted(args.pairs == ALL, contrasts)
