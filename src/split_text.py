r"""python src/split_text.py --text assets/text/alpaca.jsonl --seed 0 \
    --train 600 --calibration 64 --held-out 48 --out results/ordering/splits.json

Draw the three disjoint parts of a chat text, as lists of record indices: what training reads,
what calibrates pruning scores, and what evaluations score. No prompt stands in two of them.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any

from compression_order import errors, files
from compression_order.errors import HarnessError

# The held-out part is drawn first, so that a larger training part leaves the evaluation as it is.
PARTS = ("held_out", "calibration", "train")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
    parser.add_argument("--text", type=Path, required=True, help="chat text, JSON lines")
    parser.add_argument(
        "--held-out-text", type=Path, help="text of the held-out part (default: the same)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (default 0)")
    for part in PARTS[::-1]:
        flag = f"--{part.replace('_', '-')}"
        parser.add_argument(flag, type=int, required=True, help="conversations in this part")
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
    return parser.parse_args()


def prompt(record: dict[str, Any]) -> str:
    """What a conversation asks: every message but the last one, the answer."""
    return json.dumps(record["messages"][:-1])


def distinct(records: list[dict[str, Any]]) -> list[int]:
    """Indices of the records, without those whose exact prompt came before."""
    first: dict[str, int] = {}
    for index, record in enumerate(records):
        first.setdefault(prompt(record), index)
    return list(first.values())


def draw(indices: list[int], sizes: dict[str, int], seed: int) -> dict[str, list[int]]:
    """Disjoint random parts of `indices`, each sorted.

    Raises:
        HarnessError: a size below zero, or more asked for than there is.
    """
    for part, size in sizes.items():
        if size < 0:
            raise HarnessError(f"--{part.replace('_', '-')} {size}: a part has 0 records or more")
    wanted = sum(sizes.values())
    if wanted > len(indices):
        asked = " + ".join(f"{size} {part}" for part, size in sizes.items())
        raise HarnessError(
            f"the text has {len(indices)} distinct conversations, too few for {asked} = {wanted}; "
            "ask for fewer"
        )
    order = indices.copy()
    random.Random(seed).shuffle(order)
    parts = {}
    for part, size in sizes.items():
        parts[part], order = sorted(order[:size]), order[size:]
    return parts


def read(text: Path) -> tuple[list[int], int]:
    """The distinct conversations of a chat text, and how many there are in all.

    Raises:
        HarnessError: it is no chat text.
    """
    records = files.read_lines(text)
    if any(not record.get("messages") for record in records):
        raise HarnessError(f"{text} is not a chat text: a record has no messages")
    return distinct(records), len(records)


def main() -> None:
    args = parse_args()
    sizes = {part: getattr(args, part) for part in PARTS}
    texts = dict.fromkeys(PARTS, args.text) | {"held_out": args.held_out_text or args.text}
    parts: dict[str, list[int]] = {}
    told = []
    for text in dict.fromkeys(texts.values()):
        indices, records = read(text)
        parts |= draw(indices, {p: sizes[p] for p in PARTS if texts[p] == text}, args.seed)
        told.append(
            f"{len(indices)} conversations of {text.stem} "
            f"({records - len(indices)} left out, their prompt came before)"
        )
    digests = {text: files.sha256(text) for text in texts.values()}
    origin = {
        "text": {part: text.stem for part, text in texts.items()},
        "sha256": {part: digests[text] for part, text in texts.items()},
        "seed": args.seed,
    }
    files.write_json(args.out, origin | parts)
    drawn = ", ".join(f"{len(parts[part])} {part}" for part in PARTS)
    print(f"{args.out}: {drawn} of {' and '.join(told)}")


if __name__ == "__main__":
    errors.run(main)
