"""Pack what a finished study's table and findings are made from, or unpack such records.

    compression-order record --study config.yaml --pack results/smollm2-135m.tar.xz
    compression-order record --study config.yaml --unpack results/smollm2-135m.tar.xz

A record holds every manifest and evaluation of a study's seeds, no weights and no times: some
hundred kilobytes from which anyone makes the same table and findings, without a model (`make
reread`). Equal results give equal bytes. Several records, such as of one seed each, are unpacked
side by side; a file that is there with other contents is never overwritten.
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
