"""python src/table.py --study smoke --results results/smoke --rows base P Q P-Q Q-P \\
    --seeds 0 --csv results/smoke/table.csv --markdown results/smoke/table.md

Assemble the comparison table of a study from its evaluations: table.csv for programs, with
every column, and table.md for reading, with fewer; with --changes also the changes by each stage.
Measures nothing.
"""

from pathlib import Path

from compression_order.common import declare, errors
from compression_order.results import request


def parser() -> declare.Parser:
    made = declare.Parser(__doc__)
    request.add_flags(made)
    out = made.add_argument_group("what is written")
    out.add_argument("--csv", required=True, type=Path, help="every column, n/a where nothing is")
    out.add_argument("--markdown", required=True, type=Path, help="the same rows for reading")
    out.add_argument("--changes", type=Path, help="every pipeline against its parent (CSV)")
    return made


def main() -> None:
    args = parser().parse_args()
    from compression_order.results import assemble

    assemble.write(request.read(args), args.csv, args.markdown, args.changes)


if __name__ == "__main__":
    errors.run(main)
