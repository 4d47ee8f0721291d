"""Runs stages in the environment `quant`, all in one process: importing its libraries takes long.

    .venv-quant/bin/python tests/support/quant_runner.py < commands.json > outcomes.json

A command is `[script, flag, ...]`; its outcome is null, or the sentence of its error.
"""

import contextlib
import importlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from compression_order.common.errors import HarnessError


def outcome(script: str, flags: list[str]) -> str | None:
    """Run one stage as its command line does."""
    sys.argv = [f"src/{script}.py", *flags]
    try:
        importlib.import_module(script).main()
    except HarnessError as fault:
        return str(fault)
    return None


def main() -> None:
    commands = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        outcomes = [outcome(script, flags) for script, *flags in commands]
    json.dump(outcomes, sys.stdout)


if __name__ == "__main__":
    main()
