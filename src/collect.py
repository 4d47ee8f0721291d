"""Collect the records of many checkpoints in one file: costs of `serving`, or `commutators`.

    python src/collect.py serving --study smollm2-135m --out results/smollm2-135m/serving.csv \\
        --records results/smollm2-135m/seed0/costs/*/serving.json
    python src/collect.py commutators --study smollm2-135m \\
        --records results/smollm2-135m/seed0/commutators/*.json \\
        --out results/smollm2-135m/commutators.csv

`make serving` and `make commutators` run it.
"""

from pathlib import Path

from compression_order.common import declare, errors
from compression_order.results import distance_table, serving_table


def parser() -> declare.Parser:
    made = declare.Parser(__doc__)
    add = made.add_argument
    add("kind", choices=("serving", "commutators"), help="which records they are")
    add("--study", required=True, help="name of the study, for messages")
    add("--records", nargs="*", type=Path, default=[], help="JSON of each checkpoint or pair")
    add("--out", type=Path, required=True, help="CSV file to write")
    return made


def main() -> None:
    args = parser().parse_args()
    table = serving_table if args.kind == "serving" else distance_table
    table.write(args.study, args.records, args.out)


if __name__ == "__main__":
    errors.run(main)
