"""A copy of the repository to which a test adds what a page of docs/ shows."""

import json
import re
import subprocess
import sys
from typing import Any

from lab import ROOT
from workflow_fixtures import Copy


def examples(page: str) -> list[str]:
    """The Python of a page, one text a block."""
    found: list[str] = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return found


def lines_added(copy: Copy) -> dict[str, tuple[int, int]]:
    """File -> lines added and lines taken away, of all source files that differ from ours."""
    found = {}
    for name in sorted(copy.files()):
        if name.startswith(("src/", "tests/", "rules/", "docs/")):
            ours = (ROOT / name).read_bytes() if (ROOT / name).exists() else b""
            theirs = (copy.root / name).read_bytes()
            if ours != theirs:
                old, new = ours.decode().splitlines(), theirs.decode().splitlines()
                found[name] = (
                    len([x for x in new if x not in old]),
                    len([x for x in old if x not in new]),
                )
    return found


def inside(copy: Copy, code: str) -> Any:
    """What Python code run in the copy prints as JSON in its last line."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = ['src', 'tests/support']\n{code}"],
        cwd=copy.root,
        env=copy.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
