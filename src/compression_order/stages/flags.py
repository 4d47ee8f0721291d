"""The flags of a stage: those of every stage, then those of its method's settings. No torch."""

import argparse
import sys
from pathlib import Path

from compression_order import methods
from compression_order.common import declare
from compression_order.methods.kinds import REQUANTIZE, Method


def parse(
    kind: str, doc: str | None, argv: list[str] | None = None
) -> tuple[argparse.Namespace, Method]:
    """Parse the command line of a stage.

    Args:
        kind: of the stage.
        doc: the script's docstring.
        argv: the flags (default: those of this process).

    Returns:
        The flags that every stage has, and the settings of the method.

    Raises:
        HarnessError: a flag is unknown, missing or out of its range.
    """
    given = sys.argv[1:] if argv is None else argv
    choices = methods.of_kind(kind)
    parser = declare.Parser(doc)
    add = parser.add_argument
    add("--parent", type=Path, required=True, help="folder of the parent")
    add("--out", type=Path, required=True, help="folder of the new checkpoint")
    add("--pipeline", required=True, help="name of the new checkpoint, as P-KD")
    add("--text", type=Path, required=True, help="chat text, JSON lines")
    add("--splits", type=Path, required=True, help="record numbers of the splits")
    add("--method", choices=choices, default=choices[0], help="(default: %(default)s)")
    method = declare.value_of(given, "--method", choices[0])
    if method not in choices:
        parser.parse_args(given)  # names the wrong flag
    its = methods.settings(method)
    add(
        "--on-quantized",
        choices=its.rules,
        default=REQUANTIZE,
        help="what to do with a quantized parent (default: %(default)s)",
    )
    add("--seed", type=int, default=0, help="seed of the draw of batches (default: 0)")
    add(
        "--max-degenerate",
        type=float,
        default=0.5,
        help="largest share of degenerate greedy answers, 0 to 1 (default: 0.5)",
    )
    add("--work", type=Path, default=Path("work"), help="folder for snapshots (default: work)")
    add(
        "--snapshot-seconds",
        type=float,
        default=60,
        help="least time between two snapshots, s (default: 60)",
    )
    declare.add_work(parser)
    if kind == "distill":
        add("--teacher-outputs", type=Path, required=True, help="the teacher's cache")
    declare.add_flags(parser, its, f"settings of {method}")
    args = parser.parse_args(given)
    return args, declare.read(its, vars(args))
