"""What the products of a process are made in: bf16 or float32.

Training keeps float32 weights and multiplies bf16 copies of them (autocast), or the weights
themselves. What only reads a model loads its weights in one or the other; they are stored in bf16,
and widening them changes none. Which is faster depends on the processor: a study names one, or
`auto` lets `stages/lock.py` time both once and write the answer into a file that every job reads.

Torch is imported where it is needed: a CLI's --help must not wait for it.
"""

import argparse
from contextlib import AbstractContextManager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from compression_order.common.errors import HarnessError

if TYPE_CHECKING:
    import torch

BF16, FLOAT32, AUTO = "bf16", "float32", "auto"
KINDS = (BF16, FLOAT32)
LOCK = ".lock.yaml"  # ending of the file that says what `auto` came to

_USED = ContextVar("compute", default=BF16)  # of this process; `process.start` sets it


def use(name: str) -> None:
    """Make this process compute in bf16 or float32."""
    _USED.set(name)


def used() -> str:
    """What this process computes in: bf16 or float32."""
    return _USED.get()


def dtype() -> "torch.dtype":
    """Of the weights of a model that is only read."""
    import torch

    return torch.bfloat16 if used() == BF16 else torch.float32


def products(device: str) -> AbstractContextManager[Any]:
    """A block in which float32 weights are multiplied as this process computes.

    Args:
        device: cpu or cuda.
    """
    import torch

    return torch.autocast(device, torch.bfloat16, enabled=used() == BF16)


def add_flag(parser: argparse.ArgumentParser) -> None:
    """The flag of every process that computes: `--compute`."""
    parser.add_argument(
        "--compute",
        type=read,
        default=BF16,
        metavar="bf16|float32|FILE",
        help="what products are made in, or the lock file of a study that says so (default: bf16)",
    )


def read(value: str) -> str:
    """The value of `--compute`; where it names a lock file, what that file says.

    Raises:
        HarnessError: it is neither an arithmetic nor such a file.
    """
    if not value.endswith(LOCK):
        if value not in KINDS:
            raise HarnessError(
                f"--compute: {value!r} is not known; use one of {', '.join(KINDS)}, or the lock "
                f"file of a study (*{LOCK})"
            )
        return value
    found = locked(Path(value))
    if found is None:
        raise HarnessError(f"--compute: {value} does not exist; the rule `lock` makes it")
    return str(found["compute"])


def locked(path: Path) -> dict[str, Any] | None:
    """What a lock file says; None where there is none.

    Returns:
        `compute`: bf16 or float32; `rates`: arithmetic -> operations a second of one job.

    Raises:
        HarnessError: it was not written by this program.
    """
    if not path.exists():
        return None
    try:
        found = yaml.safe_load(path.read_text())
        rates = {kind: float(found["rates"][kind]) for kind in KINDS}
        whole = found["compute"] in KINDS and min(rates.values()) > 0
    except (KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError):
        whole = False
    if not whole:
        raise HarnessError(
            f"{path}: it does not say `compute` and `rates` as a run writes them; delete it, and "
            "the next run measures again"
        )
    return {"compute": found["compute"], "rates": rates}
