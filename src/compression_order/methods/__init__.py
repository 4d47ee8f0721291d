"""The registry of methods: one row a method, one folder a method.

A folder has the name of its method, `-` written as `_`: `settings.py` says what a study may say of
it and what a plan must know (pure Python), `run.py` does it (torch). A stage imports only the
method that it runs, so that editing one method makes only the checkpoints of that method stale.
"""

import importlib
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

from compression_order.common.errors import HarnessError

if TYPE_CHECKING:
    from compression_order.methods.kinds import Method

# the first of each kind is the one that its script takes unless told
REGISTRY = (
    "ffn-neurons",
    "llm-pruner",
    "logits",
    "lora",
    "full",
    "shortgpt",
    "magnitude",
    "sparsegpt",
    "wanda",
    "nf4",
    "int8",
    "gptq",
    "awq",
)


def folder(method: str) -> str:
    """Dotted name of a method's package."""
    return f"{__name__}.{method.replace('-', '_')}"


def run_module(method: str) -> str:
    """Dotted name of the module that does a method's work."""
    return f"{folder(method)}.run"


@cache
def settings(method: str) -> "type[Method]":
    """What a study may say of a method.

    Raises:
        HarnessError: no such method.
    """
    if method not in REGISTRY:
        raise HarnessError(f"{method!r} is not known; use one of {', '.join(REGISTRY)}")
    found: type[Method] = importlib.import_module(f"{folder(method)}.settings").Settings
    return found


def of_kind(kind: str) -> list[str]:
    """The names of the methods of one kind of stage."""
    return [name for name in REGISTRY if settings(name).kind == kind]


def load(method: str) -> ModuleType:
    """The module that does a method's work; it needs torch."""
    return importlib.import_module(run_module(method))
