"""python src/device.py --device cuda --out results/qwen2.5-3b/device.json

Ask torch for the study's device, before hours of downloads: a GPU that is not there is told in
one sentence. The record holds nothing of the machine.
"""

import argparse
from pathlib import Path

from compression_order import errors, files, runtime, settings


def parse_args() -> argparse.Namespace:
    parser = settings.Parser(description=__doc__.split("\n\n")[1])
    settings.add_device(parser)
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    runtime.usable(args.device)
    files.write_json(args.out, {"device": args.device})
    print(f"{args.device} is there")


if __name__ == "__main__":
    errors.run(main)
