"""The registry of methods: one row a method, one module a method.

A row names the module, not the function: the Snakefile reads this table on machines without
torch, and a stage imports only the method that it runs, so that editing one method makes
only the checkpoints of that method stale. A module offers `Settings` (a frozen dataclass
whose fields are the method's schema entry in `schemas/study.schema.yaml`) and `apply`.
"""

import importlib
from types import ModuleType

from compression_order.errors import HarnessError

# method: (kind of stage, module, and the environment that it runs in where that is not `core`)
REGISTRY: dict[str, tuple[str, ...]] = {
    "ffn-neurons": ("prune", "compression_order.methods.ffn_neurons"),
    "llm-pruner": ("prune", "compression_order.methods.llm_pruner"),
    "logits": ("distill", "compression_order.methods.logits"),
    "lora": ("finetune", "compression_order.methods.lora"),
    "full": ("finetune", "compression_order.methods.full"),
    "shortgpt": ("prune", "compression_order.methods.shortgpt"),
    "magnitude": ("prune", "compression_order.methods.magnitude"),
    "sparsegpt": ("prune", "compression_order.methods.sparsegpt", "quant"),
    "wanda": ("prune", "compression_order.methods.wanda", "quant"),
    "nf4": ("quantize", "compression_order.methods.nf4"),
    "int8": ("quantize", "compression_order.methods.int8"),
    "gptq": ("quantize", "compression_order.methods.gptq", "quant"),
    "awq": ("quantize", "compression_order.methods.awq", "quant"),
}


def of_kind(kind: str) -> list[str]:
    """The names of the methods of one kind of stage."""
    return [name for name, row in REGISTRY.items() if row[0] == kind]


def environment(method: str) -> str:
    """The environment that a method runs in: `core` or `quant`."""
    row = REGISTRY[method]
    return row[2] if len(row) > 2 else "core"


def load(method: str, kind: str) -> ModuleType:
    """The module of a method.

    Raises:
        HarnessError: no such method, or it belongs to another kind of stage.
    """
    if method not in of_kind(kind):
        known = ", ".join(of_kind(kind))
        raise HarnessError(f"--method: {method!r} is no {kind} method; use one of {known}")
    return importlib.import_module(REGISTRY[method][1])
