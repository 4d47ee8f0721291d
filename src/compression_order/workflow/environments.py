"""The Python that a job runs in: `core` for most, `quant` for llm-compressor, `judge` for verdicts.

Pure Python, no torch, because the Snakefile imports it. `core` is the environment in which
Snakemake runs its jobs. An environment variable names the python of each other one, so that a
container or a cluster can keep it elsewhere.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from compression_order import methods
from compression_order.common.errors import HarnessError
from compression_order.common.files import of_workflow
from compression_order.orderings import Stage

CORE = "core"
# environment -> its python, from the root of the repository
PYTHONS = {"quant": ".venv-quant/bin/python", "judge": ".venv-judge/bin/python"}
JUDGE = "judge"


def variable(name: str) -> str:
    """The environment variable that names the python of an environment."""
    return f"PYTHON_{name.upper()}"


def lock(method: str) -> str:
    """The lock file of a method's environment: other library versions may give other numbers."""
    return of_workflow(f"envs/{methods.settings(method).environment}.lock")


def launcher(method: str, devices: int) -> str:
    """The command that starts a method's script on a number of devices of one machine.

    It names the variable, not the path of the python, because the path does not affect results.
    """
    name = methods.settings(method).environment
    if name == CORE:
        return f"torchrun --standalone --nproc-per-node={devices}" if devices > 1 else "python"
    together = f" -m torch.distributed.run --standalone --nproc-per-node={devices}"
    return f'"${variable(name)}"' + (together if devices > 1 else "")


def require(stages: Iterable[Stage], root: Path, judge: bool = False) -> None:
    """Set the launchers' variables that the caller has not set, and check all of them.

    Args:
        stages: of the study; only the environments that they use must exist.
        root: folder of the repository, from which relative paths count.
        judge: whether the study has a judge.

    Raises:
        HarnessError: the environment of a stage, or of the judge, does not exist.
    """
    for name, python in PYTHONS.items():
        os.environ.setdefault(variable(name), of_workflow(python))
    for stage in stages:
        name = methods.settings(stage.method).environment
        if name != CORE:
            _require(name, f"stages.{stage.token}: the method {stage.method!r} runs", root)
    if judge:
        _require(JUDGE, "judge: verdicts are given", root)


def _require(name: str, what: str, root: Path) -> None:
    python = os.environ[variable(name)]
    if not shutil.which(root / python if "/" in python else python):
        raise HarnessError(
            f"{what} in the environment `{name}`, and {python} does not exist; run `make "
            f"{name}-env`, or name its python in the variable {variable(name)}"
        )
