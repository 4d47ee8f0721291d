"""python docker/memory_mb.py

Print the MiB that jobs may take together: the machine's memory, or the container's limit (cgroup
version 2 or 1) where that is less.
"""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
LIMITS = (CGROUP / "memory.max", CGROUP / "memory" / "memory.limit_in_bytes")


def memory_mb() -> int:
    """MiB; a limit of "max" is none."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    told = [path.read_text().strip() for path in LIMITS if path.is_file()]
    return min([machine, *(int(text) for text in told if text.isdigit())]) >> 20


if __name__ == "__main__":
    print(memory_mb())
