"""Numbers of the pages that come from the shipped records: written anew, and checked.

A number stands between two marks, `<!--=PATH-->1.298<!--/-->`, where PATH leads to a comparison of
analysis.json and to what is told of it:

    alpaca/pair/Q-KD-P/P-Q-KD/ratio                    of any two rows that are compared
    alpaca/pair/Q-KD-P/P-Q-KD/interval                 its simultaneous interval
    alpaca/effect/P,KD,Q/train-after-quantize/pruning-before-quantizing/ratio
    alpaca/gap/P,KD,Q/prune-after-quantize/ratio
    alpaca/orders/P,KD,Q/separable                     how many of their pairs
    alpaca/trainings/helps                             at how many places training helps

`python tests/support/claims.py` (`make check-claims`) fails on a number that the records do not
give; `make docs` writes it.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import shipped
from lab import ROOT

from compression_order.findings import prose_effects, wording

CLAIM = re.compile(r"(<!--=(?P<path>[^>]+)-->)(?P<told>.*?)(<!--/-->)", re.DOTALL)
PAGES = ("README.md", "docs/results.md", "docs/limits.md")


def written(name: str) -> str:
    """A page with every marked number as the records give it."""
    return CLAIM.sub(lambda its: f"{its[1]}{value(its['path'])}{its[4]}", _page(name))


def wrong(name: str) -> Iterator[str]:
    """One sentence for each marked number that the records do not give."""
    for its in CLAIM.finditer(_page(name)):
        here, there = " ".join(its["told"].split()), value(its["path"])
        if here != there:
            told = f"{its['path']} says {here}, and the records give {there}"
            yield f"{name}: {told}; run `make docs`"


def _page(name: str) -> str:
    return (ROOT / name).read_text()


def value(path: str) -> str:
    """What the records give for a path."""
    text, kind, *rest = path.split("/")
    found = shipped.made().analysis["arms"]["all"]["perplexity"][text]
    return str(KINDS[kind](found, *rest))


def _pair(text: Any, first: str, second: str, what: str) -> str:
    for entry in _compared(text):
        if (entry["first"], entry["second"]) == (second, first):
            entry = wording.turned(entry)
        if (entry["first"], entry["second"]) == (first, second):
            return _told(entry, what)
    raise KeyError(f"{first} and {second} are not compared")


def _compared(text: Any) -> Iterator[Any]:
    """Every comparison of two rows; those of orders at full compression first."""
    families = [orders["pairs"] for orders in (*text["full_orders"], *text["smaller_orders"])]
    families += [text["controls"], text["equal_budget"], text["trainings"]]
    for family in families:
        for entry in () if isinstance(family, str) else family["entries"]:
            second = entry.get("second") or entry.get("control") or entry.get("without")
            yield {**entry, "first": entry.get("first") or entry["with"], "second": second}


def _effect(text: Any, stages: str, effect: str, where: str, what: str) -> str:
    family = _orders(text, stages)["simple_effects"]["entries"]
    for entry in family:
        if (_joined(entry["effect"]), _joined(entry["where"])) == (effect, where):
            return _told(entry, what)
    raise KeyError(f"{effect} where {where} is not an effect of {stages}")


def _gap(text: Any, stages: str, predicate: str, what: str) -> str:
    for entry in _orders(text, stages)["gaps"]:
        if _joined(entry["predicate"]) == predicate:
            ends = entry["gap_interval_text"]
            return wording.times(entry["gap"]) if what == "ratio" else wording.between(ends)
    raise KeyError(f"{predicate} has no gap among orders of {stages}")


def _orders(text: Any, stages: str) -> Any:
    return next(its for its in text["full_orders"] if its["stages"] == stages.split(","))


def _count(text: Any, stages: str, what: str) -> int:
    count: int = _orders(text, stages)["pairs"][what]
    return count


def _trainings(text: Any, verdict: str) -> int:
    told = [_joined(prose_effects.helps(entry)) for entry in text["trainings"]["entries"]]
    return len(told) if verdict == "all" else told.count(verdict)


def _told(entry: Any, what: str) -> str:
    if what == "ratio":
        return wording.times(entry["ratio"])
    if what == "interval":
        return wording.between(entry["simultaneous"])
    return wording.times(entry["beside"][what]["ratio"])


def _joined(words: str) -> str:
    return words.replace(" ", "-")


KINDS = {
    "pair": _pair,
    "effect": _effect,
    "gap": _gap,
    "orders": _count,
    "trainings": _trainings,
}


def main() -> None:
    """Check every page.

    Raises:
        SystemExit: a number that the records do not give.
    """
    told = [sentence for name in PAGES for sentence in wrong(name)]
    if told:
        sys.exit("error: " + "\nerror: ".join(told))
    marked = sum(len(CLAIM.findall(_page(name))) for name in PAGES)
    print(f"{marked} numbers on {len(PAGES)} pages are those of the records")


if __name__ == "__main__":
    main()
