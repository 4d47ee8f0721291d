"""python src/device.py --device cuda --out results/qwen2.5-3b/device.json

Check that torch finds the study's device before hours of downloads; report a missing GPU in one
sentence. The record contains nothing specific to the machine.
"""

from pathlib import Path

from compression_order.common import declare, errors, files, process


def parser() -> declare.Parser:
    made = declare.Parser(__doc__)
    declare.add_device(made)
    made.add_argument("--out", type=Path, required=True, help="the JSON to write")
    return made


def main() -> None:
    args = parser().parse_args()
    process.usable(args.device)
    files.write_json(args.out, {"device": args.device})
    print(f"{args.device} is there")


if __name__ == "__main__":
    errors.run(main)
