"""The records of one split of a chat text. Pure Python: the judge reads them without torch."""

from pathlib import Path
from typing import Any

from compression_order.common import files
from compression_order.common.errors import HarnessError


def records(text: Path, splits: Path, split: str) -> list[tuple[int, dict[str, Any]]]:
    """The records of one split of a chat text, with their record numbers.

    Raises:
        HarnessError: the splits were made from another text.
    """
    table = files.read_json(splits)
    if table["sha256"][split] != files.sha256(text):
        raise HarnessError(
            f"{splits} was made from another version of {text} (its sha256 differs); "
            f"delete {splits} and run again"
        )
    lines = files.read_lines(text)
    return [(i, lines[i]) for i in table[split]]
