"""Verdicts as files: what was asked once is not asked, nor paid for, again.

A verdict lies in `<store>/<model>/<deepeval version>/<metric>/<key>.json`; the key is the hash
of everything that decides it, the hash of the prompt among them. The files are the cache of a
run and survive `make clean`; a study's own record is `judge.json`.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compression_order import files
from compression_order.errors import HarnessError

Verdict = dict[str, Any]


def path(store: Path, key: Mapping[str, Any]) -> Path:
    """Where the verdict of a key lies; `model`, `deepeval` and `metric` are in every key."""
    model = re.sub(r"[^A-Za-z0-9._-]+", "_", key["model"])
    name = files.digest(dict(key))
    return store / model / key["deepeval"] / key["metric"] / name[:2] / f"{name}.json"


def recall(store: Path, key: Mapping[str, Any], ask: Callable[[], Verdict]) -> Verdict:
    """The stored verdict, or the answer of `ask`, which is stored whole or not at all.

    Raises:
        HarnessError: the stored file is damaged; or what `ask` raises.
    """
    at = path(store, key)
    if not at.exists():
        files.write_json(at, {"key": dict(key), "verdict": ask()})
    stored = files.read_json(at)
    if not isinstance(stored, dict) or stored.get("key") != key or "verdict" not in stored:
        raise HarnessError(f"{at} is not the verdict that its name says; delete it and run again")
    verdict: Verdict = stored["verdict"]
    return verdict
