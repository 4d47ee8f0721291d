"""python src/analyze.py --study smoke --results results/smoke --rows base P Q P-Q Q-P --seeds 0 \
    --json results/smoke/analysis.json --markdown results/smoke/findings.md

Say what the numbers of a finished study mean: which orders are separable, by how much, and how
sure that is. Reads the evaluations of all seeds; nothing is measured here. analysis.json holds
every comparison with its effect, intervals and verdict, findings.md the same in sentences.
docs/statistics.md says how each number is made.
"""

import argparse
import math
from pathlib import Path
from typing import Any

from compression_order import errors, files, table_request
from compression_order.analysis import assembly, prose

DIGITS = 9  # significant: as much as a stored loss holds


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    table_request.add_flags(parser)
    out = parser.add_argument_group("what is written")
    out.add_argument("--json", required=True, type=Path, help="every comparison")
    out.add_argument("--markdown", required=True, type=Path, help="the same for reading")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    asked = table_request.read(args)
    made = assembly.analysis(asked.study, asked.rows, asked.records, asked.arms, asked.figures)
    made = plain(made)
    page = prose.page(made)
    files.write_json(args.json, made)
    with files.replacing(args.markdown) as aside:
        aside.write_text(page, encoding="utf-8", newline="\n")
    print(f"{args.markdown}: {len(asked.rows)} rows, {len(args.seeds)} seeds")


def plain(value: Any) -> Any:
    """A value as JSON holds it: no NaN, and no digits that another machine would round away."""
    if isinstance(value, dict):
        return {str(key): plain(its) for key, its in value.items()}
    if isinstance(value, list | tuple):
        return [plain(its) for its in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


if __name__ == "__main__":
    errors.run(main)
