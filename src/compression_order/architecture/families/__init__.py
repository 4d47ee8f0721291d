"""The registry of model families: one file a family, one name in the registry.

Pure Python: planner and Snakefile ask it on machines without torch. A family decides whether a
model can be planned and built, never a number of its results: a new one makes no result stale.
"""

import importlib

from compression_order.architecture.families.family import Family

REGISTRY = (
    "llama",
    "qwen2",
)
FAMILIES: tuple[Family, ...] = tuple(
    importlib.import_module(f"{__name__}.{name}").FAMILY for name in REGISTRY
)


def known() -> str:
    """The `model_type` of every family, for messages."""
    return ", ".join(family.model_type for family in FAMILIES)


def find(model_type: str) -> Family | None:
    """The family of a `model_type`, None where it is not known here."""
    return next((family for family in FAMILIES if family.model_type == model_type), None)
