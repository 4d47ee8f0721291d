"""The Penn Treebank's language-modelling text, as the package `treebank` keeps it.

The package is one Python file that assigns each split to `penn[...]` as a text between triple
quotes, a sentence a line: Mikolov's preparation, lower case with <unk> and N. It is read as text
and never run.
"""

import re

from compression_order.errors import HarnessError

SPLITS = ("valid", "test")


def sentences(content: str, split: str) -> list[dict[str, str]]:
    """The sentences of a split, {"text"} each.

    Raises:
        HarnessError: the file has no such split.
    """
    mark = '"""'
    pattern = rf"^penn\['{split}'\] = {mark}(.*?){mark}"
    found = re.search(pattern, content, re.DOTALL | re.MULTILINE)
    if found is None:
        raise HarnessError(
            f"--form penn-{split}: the data file has no text penn['{split}']; name "
            "treebank/__init__.py of the package treebank"
        )
    lines = (line.strip() for line in found[1].split("\n"))
    return [{"text": line} for line in lines if line]
