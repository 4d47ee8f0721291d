"""One clear sentence for every fault of the input, and a non-zero exit."""

import errno
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


class HarnessError(Exception):
    """A fault that the user can mend: names the file, the key, the value and what to do."""


def run(main: Callable[[], None]) -> None:
    """Run a CLI's `main`; tell a `HarnessError` or a full disk in one sentence and exit with 1.

    Anything else is a defect of the harness and keeps its traceback.
    """
    try:
        main()
    except HarnessError as fault:
        _leave(f"error: {fault}")
    except Exception as fault:
        if not _is_disk_full(fault):
            raise
        _leave(
            f"error: no space left on the disk while writing ({fault}); "
            "free some space and run the same command again"
        )


def _leave(sentence: str) -> NoReturn:
    # the report of torchrun, which starts a stage on several devices, ends with what is here
    report = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if report:
        told = {"message": sentence, "timestamp": int(time.time())}
        Path(report).write_text(json.dumps(told))
    sys.exit(sentence)


def _is_disk_full(fault: Exception) -> bool:
    # safetensors and torch wrap the operating system's error in their own exceptions
    full = isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or "No space left on device" in str(fault) or "os error 28" in str(fault)
