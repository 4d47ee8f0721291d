"""Rewrite what is generated in docs/: `make docs`, or python tests/support/generated.py."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the benchmarks

import claims
import forest
import methods_table
import performance
import tree
from lab import ROOT

# file -> what writes it. A function that writes a part of a page reads the rest from the file.
PAGES: tuple[tuple[str, Callable[[], str]], ...] = (
    ("docs/figure.svg", forest.draw),
    ("docs/map.md", tree.write),
    ("docs/methods-table.md", methods_table.write),
    *performance.pages(),
    *((name, partial(claims.written, name)) for name in claims.PAGES),
)


def main() -> None:
    """Write every page that has changed."""
    for name, write in PAGES:
        path, made = ROOT / name, write()
        if not path.exists() or path.read_text() != made:
            path.write_text(made)
            print(f"rewritten: {name}")


if __name__ == "__main__":
    main()
