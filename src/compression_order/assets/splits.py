"""The disjoint parts of a chat text: what training reads, what calibrates, what is scored."""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compression_order.assets import duplicates
from compression_order.common import files
from compression_order.common.errors import HarnessError

# What is scored is drawn first, so that larger parts to train on leave the evaluation as it is.
SCORED = ("held_out", "dev")
READ = ("calibration", "train", "recovery")
PARTS = (*SCORED, *READ)

Sizes = Mapping[str, int]  # part -> conversations


@dataclass(frozen=True)
class Asked:
    """What is to be drawn.

    Attributes:
        sizes: conversations of each part.
        seed: of the draw.
        replicate: redraws what is read and leaves what is scored; None: one draw for all.
        earlier: the sizes of an earlier draw that is never scored, and `seed`; empty: none.
        keep_near: whether near-duplicates stay in; repeated prompts never do.
    """

    sizes: Sizes
    seed: int
    replicate: int | None = None
    earlier: Mapping[str, int] | None = None
    keep_near: bool = False

    def distinct(self, records: Sequence[dict[str, Any]]) -> list[int]:
        """Indices of the records to draw from."""
        kept = duplicates.without_repeated_prompts if self.keep_near else duplicates.distinct
        return kept(records)


def draw(indices: Sequence[int], sizes: Sizes, seed: int | str) -> dict[str, list[int]]:
    """Disjoint random parts of `indices`, each sorted.

    Raises:
        HarnessError: a size below zero, or more asked for than there is.
    """
    for part, size in sizes.items():
        if size < 0:
            raise HarnessError(f"--{part.replace('_', '-')} {size}: a part has 0 records or more")
    wanted = sum(sizes.values())
    if wanted > len(indices):
        asked = " + ".join(f"{size} {part}" for part, size in sizes.items() if size)
        raise HarnessError(
            f"the text has {len(indices)} distinct conversations to draw from, too few for {asked} "
            f"= {wanted}; ask for fewer"
        )
    order = list(indices)
    random.Random(seed).shuffle(order)
    parts = {}
    for part, size in sizes.items():
        parts[part], order = sorted(order[:size]), order[size:]
    return parts


def drawn(records: Sequence[dict[str, Any]], asked: Asked, parts: Collection[str]) -> Any:
    """The parts that are of one text, by record number.

    Args:
        records: of the text.
        asked: what to draw.
        parts: those of this text, among `PARTS`.
    """
    indices = asked.distinct(records)
    sizes = {part: asked.sizes[part] for part in PARTS if part in parts}
    scored = {part: size for part, size in sizes.items() if part in SCORED}
    read = {part: size for part, size in sizes.items() if part in READ}
    if asked.replicate is None and not asked.earlier:
        return draw(indices, sizes, asked.seed)
    never = _earlier(records, asked.earlier)
    found = draw([i for i in indices if i not in never], scored, asked.seed)
    taken = {i for part in found.values() for i in part}
    rest = [i for i in indices if i not in taken]
    seed = f"{asked.seed}/{asked.replicate or 0}"
    return found | draw(rest, read, seed)


def _earlier(records: Sequence[dict[str, Any]], earlier: Mapping[str, int] | None) -> set[int]:
    """The conversations of an earlier draw, which left out exact repetitions alone."""
    if not earlier:
        return set()
    sizes = {part: earlier[part] for part in ("held_out", "calibration", "train")}
    parts = draw(duplicates.without_repeated_prompts(records), sizes, earlier["seed"])
    return {i for part in parts.values() for i in part}


def write(text: Path, held_out_text: Path | None, asked: Asked, out: Path) -> None:
    """Draw the parts and write them as lists of record numbers.

    Args:
        text: chat text, JSON lines.
        held_out_text: text of the held-out part; None: the same.
        asked: what to draw.
        out: the JSON file.

    Raises:
        HarnessError: a text is no chat text, or has too few conversations.
    """
    texts = dict.fromkeys(PARTS, text) | {"held_out": held_out_text or text}
    parts: dict[str, list[int]] = {}
    told = []
    for its in dict.fromkeys(texts.values()):
        records = read(its)
        parts |= drawn(records, asked, [part for part in PARTS if texts[part] == its])
        kept = len(asked.distinct(records))
        told.append(
            f"{kept} conversations of {its.stem} ({len(records) - kept} left out, nearly the same "
            "came before)"
        )
    digests = {its: files.sha256(its) for its in texts.values()}
    origin = {
        "text": {part: its.stem for part, its in texts.items()},
        "sha256": {part: digests[its] for part, its in texts.items()},
        "seed": asked.seed,
        "replicate": asked.replicate,
    }
    files.write_json(out, origin | parts)
    listed = ", ".join(f"{len(parts[part])} {part}" for part in PARTS if parts[part])
    print(f"{out}: {listed} of {' and '.join(told)}")


def read(text: Path) -> list[dict[str, Any]]:
    """The records of a chat text.

    Raises:
        HarnessError: it is no chat text.
    """
    records = files.read_lines(text)
    if any(not record.get("messages") for record in records):
        raise HarnessError(f"{text} is not a chat text: a record has no messages")
    return records
