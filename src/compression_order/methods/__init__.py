"""The registry of methods: one row a method, one module a method.

A row names the module, not the function: the Snakefile reads this table on machines without
torch, and a stage imports only the method that it runs, so that editing one method makes
only the checkpoints of that method stale. A module offers `Settings` (a frozen dataclass
whose fields are the method's schema entry in `schemas/study.schema.yaml`) and `apply`.
"""

import importlib
from types import ModuleType

from compression_order.errors import HarnessError

# method: (kind of stage, module)
REGISTRY = {
    "ffn-neurons": ("prune", "compression_order.methods.ffn_neurons"),
    "logits": ("distill", "compression_order.methods.logits"),
    "nf4": ("quantize", "compression_order.methods.nf4"),
}


def of_kind(kind: str) -> list[str]:
    """The names of the methods of one kind of stage."""
    return [name for name, (its_kind, _) in REGISTRY.items() if its_kind == kind]


def load(method: str, kind: str) -> ModuleType:
    """The module of a method.

    Raises:
        HarnessError: no such method, or it belongs to another kind of stage.
    """
    if method not in of_kind(kind):
        known = ", ".join(of_kind(kind))
        raise HarnessError(f"--method: {method!r} is no {kind} method; use one of {known}")
    return importlib.import_module(REGISTRY[method][1])
