"""The disjoint parts of a chat text: what training reads, what calibrates, what is scored."""

import json
import random
from pathlib import Path
from typing import Any

from compression_order.common import files
from compression_order.common.errors import HarnessError

# The held-out part is drawn first, so that a larger training part leaves the evaluation as it is.
PARTS = ("held_out", "calibration", "train")


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


def write(
    text: Path, held_out_text: Path | None, sizes: dict[str, int], seed: int, out: Path
) -> None:
    """Draw the parts and write them as lists of record numbers.

    Args:
        text: chat text, JSON lines.
        held_out_text: text of the held-out part; None: the same.
        sizes: conversations of each part.
        seed: of the draw.
        out: the JSON file.

    Raises:
        HarnessError: a text is no chat text, or has too few conversations.
    """
    sizes = {part: sizes[part] for part in PARTS}
    texts = dict.fromkeys(PARTS, text) | {"held_out": held_out_text or text}
    parts: dict[str, list[int]] = {}
    told = []
    for its in dict.fromkeys(texts.values()):
        indices, records = read(its)
        parts |= draw(indices, {p: sizes[p] for p in PARTS if texts[p] == its}, seed)
        told.append(
            f"{len(indices)} conversations of {its.stem} "
            f"({records - len(indices)} left out, their prompt came before)"
        )
    digests = {its: files.sha256(its) for its in texts.values()}
    origin = {
        "text": {part: its.stem for part, its in texts.items()},
        "sha256": {part: digests[its] for part, its in texts.items()},
        "seed": seed,
    }
    files.write_json(out, origin | parts)
    drawn = ", ".join(f"{len(parts[part])} {part}" for part in PARTS)
    print(f"{out}: {drawn} of {' and '.join(told)}")
