"""The Python that a stage runs in: `core` for most methods, `quant` for those of llm-compressor.

Pure Python, no torch: the Snakefile asks. `core` is the environment that Snakemake's jobs find;
another one is named by a variable, so that a container or a cluster can have it elsewhere.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from compression_order import methods, processes
from compression_order.errors import HarnessError
from compression_order.orderings import Stage

CORE = "core"
# environment -> its python, from the root of the repository
PYTHONS = {"quant": ".venv-quant/bin/python"}


def variable(name: str) -> str:
    """The environment variable that names the python of an environment."""
    return f"PYTHON_{name.upper()}"


def lock(method: str) -> str:
    """The lock of a method's environment: another library version may give other numbers."""
    return f"envs/{methods.environment(method)}.lock"


def launcher(method: str, devices: int) -> str:
    """The command that starts a method's script on so many devices of one machine.

    It names the variable, not the python: where that lies decides no result.
    """
    name = methods.environment(method)
    if name == CORE:
        return processes.launcher(devices)
    together = f" -m torch.distributed.run --standalone --nproc-per-node={devices}"
    return f'"${variable(name)}"' + (together if devices > 1 else "")


def require(stages: Iterable[Stage], root: Path) -> None:
    """Set the variables that the launchers name, where the caller has not, and check them.

    Args:
        stages: of the study; only what they use must be there.
        root: folder of the repository, from which relative paths count.

    Raises:
        HarnessError: the environment of a stage does not exist.
    """
    for name, python in PYTHONS.items():
        os.environ.setdefault(variable(name), python)
    for stage in stages:
        name = methods.environment(stage.method)
        python = CORE if name == CORE else os.environ[variable(name)]
        if name != CORE and not shutil.which(root / python if "/" in python else python):
            raise HarnessError(
                f"stages.{stage.token}: the method {stage.method!r} runs in the environment "
                f"`{name}`, and {python} does not exist; run `make {name}-env`, or name its python "
                f"in the variable {variable(name)}"
            )
