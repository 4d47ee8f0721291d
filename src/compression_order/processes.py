"""One training on several devices, before it starts: who launches it, and what it refuses.

Pure Python: the workflow reads this where it is parsed. What the processes do with one another
is in `distributed.py`.
"""

import os
from collections.abc import Mapping
from typing import Any

from compression_order.errors import HarnessError
from compression_order.settings import adapts

# the keys of a stage's settings that may hold a training
_TRAININGS = ("training", "recovery")


def here() -> int:
    """How many processes run this stage together; torchrun says it in WORLD_SIZE."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def devices(settings: Mapping[str, Any]) -> int:
    """Devices, and processes, that a stage's settings ask for: 1 where nothing is trained."""
    return max((its.get("devices", 1) for _, its in _trainings(settings)), default=1)


def launcher(count: int) -> str:
    """The command that starts a stage's script on `count` devices of one machine."""
    return f"torchrun --standalone --nproc-per-node={count}" if count > 1 else "python"


def require(settings: Mapping[str, Any], method: str, on_quantized: str, prefix: str = "") -> None:
    """Refuse what a training on several devices would do wrong.

    Args:
        settings: of one stage.
        method: its method.
        on_quantized: what it does with a quantized parent.
        prefix: where they stand, for messages, such as `stages.KD.`.

    Raises:
        HarnessError: the batches cannot be shared evenly, or the loss or the optimizer needs
            what one device does not see.
    """
    for key, its in _trainings(settings):
        count, size = its.get("devices", 1), its.get("batch_size")
        if count == 1:
            continue
        if size is not None and size % count:
            raise HarnessError(
                f"{prefix}{key}.batch_size: {size} conversations cannot be shared evenly by "
                f"{count} devices; make it a multiple of {count}, or change {prefix}{key}.devices"
            )
        if its.get("optimizer") == "adamw-8bit":
            raise HarnessError(
                f"{prefix}{key}.optimizer: 'adamw-8bit' cannot be sharded over {count} devices; "
                f"use adamw, or set {prefix}{key}.devices to 1"
            )
        if adapts(method, on_quantized) or on_quantized == "fake-quant":
            what = "an adapter" if method == "lora" else f"`on_quantized: {on_quantized}`"
            raise HarnessError(
                f"{prefix}{key}.devices: {what} trains on one device, not on {count}; set it to 1"
            )
        if settings.get("reduction") == "paper":
            raise HarnessError(
                f"{prefix}reduction: 'paper' clamps the divergence of a whole batch, which none "
                f"of {count} devices sees; use token-mean, or set {prefix}{key}.devices to 1"
            )


def require_launched(settings: Mapping[str, Any]) -> None:
    """Refuse a stage that runs in more or fewer processes than its settings ask for.

    Raises:
        HarnessError: it does.
    """
    wanted, found = devices(settings), here()
    if wanted != found:
        raise HarnessError(
            f"devices: the settings ask for {wanted}, and {found} process(es) run; start the "
            f"script with `{launcher(wanted)}`"
        )


def without_devices(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's settings but for the number of devices."""
    kept = {key: value for key, value in settings.items() if key != "devices"}
    return {k: without_devices(v) if isinstance(v, Mapping) else v for k, v in kept.items()}


def _trainings(settings: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    found = [(key, settings[key]) for key in _TRAININGS if key in settings]
    return [(key, its) for key, its in found if its.get("steps", 1)]
