"""Pack the inputs of a finished study's table and findings into a record, or unpack records.

    compression-order record --study config.yaml --pack results/smollm2-135m.tar.xz
    compression-order record --study config.yaml --unpack results/smollm2-135m.tar.xz

A record holds every manifest and evaluation of a study's seeds, but no weights and no times. From
these few hundred kilobytes anyone can make the same table and findings without a model (`make
reread`). Equal results give equal bytes. Several records, for example one per seed, can be
unpacked together; an existing file with different contents is never overwritten.
"""

import argparse
from pathlib import Path

from compression_order.common import declare, files
from compression_order.results import archive
from compression_order.study import parse


def add_flags(parser: declare.Parser) -> None:
    """The flags of the command."""
    declare.add_study(parser)
    does = parser.add_mutually_exclusive_group(required=True)
    does.add_argument("--pack", type=Path, help="the record to write, .tar.xz")
    does.add_argument("--unpack", type=Path, nargs="+", help="records to read")


def run(args: argparse.Namespace) -> None:
    """Pack or unpack."""
    asked = parse.read(args.study, files.WORKFLOW)
    if args.pack:
        archive.pack(asked, args.pack)
    else:
        archive.unpack(asked, args.unpack)
