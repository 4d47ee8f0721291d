"""python src/findings.py --study smoke --results results/smoke --rows base P Q P-Q Q-P --seeds 0 \\
    --json results/smoke/analysis.json --markdown results/smoke/findings.md

Interpret the numbers of a finished study: which orders are separable, by how much, and with what
confidence. Reads the evaluations of all seeds and measures nothing. analysis.json holds every
comparison with its effect, intervals and verdict; findings.md says the same in sentences.
docs/statistics.md explains how each number is computed.
"""

from pathlib import Path

from compression_order.common import declare, errors
from compression_order.findings import wanted
from compression_order.results import request


def parser() -> declare.Parser:
    made = declare.Parser(__doc__)
    request.add_flags(made)
    wanted.add_flags(made)
    out = made.add_argument_group("what is written")
    out.add_argument("--json", required=True, type=Path, help="every comparison")
    out.add_argument("--markdown", required=True, type=Path, help="the same for reading")
    return made


def main() -> None:
    args = parser().parse_args()
    from compression_order.findings import assembly

    assembly.write(request.read(args), wanted.read(args), args.json, args.markdown)


if __name__ == "__main__":
    errors.run(main)
