"""What a plan must know of each method, without torch: the checkpoint it makes, and what it takes.

`plans/<name>.py` is the half of `methods/<name>.py` that needs no torch. What both must know,
such as the widths that a cut leaves, lies in `cuts.py` and `formulas.py`: stages do not import
this package, so that editing a plan makes no checkpoint stale. A half offers

- `child(parent, stage)`: the `State` of the checkpoint that the stage makes, and
- `demand(study, stage, parent, made, assumed)`: what one job takes.
"""

import importlib
import importlib.util
import math
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

from compression_order import demands, formulas, methods
from compression_order.demands import Demand, State, Training
from compression_order.errors import HarnessError
from compression_order.evaluation_demands import Assumed
from compression_order.orderings import Stage
from compression_order.shapes import LINEARS, Architecture
from compression_order.study import Study


def load(stage: Stage) -> ModuleType:
    """The half without torch of a stage's method.

    Raises:
        HarnessError: the method has none.
    """
    module = methods.REGISTRY[stage.method][1].replace(".methods.", ".plans.")
    if importlib.util.find_spec(module) is None:
        path = f"src/{module.replace('.', '/')}.py"
        raise HarnessError(
            f"stages.{stage.token}: the method {stage.method!r} has no formulas; write {path}"
        )
    return importlib.import_module(module)


def setting(stage: Stage, path: str) -> Any:
    """A setting of a stage by its dotted name.

    Raises:
        HarnessError: the study file leaves it to the default of the method's code, which needs
            torch to be read.
    """
    value: Any = stage.settings
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise HarnessError(
                f"stages.{stage.token}.{path} is not in the study file; write it there: a plan "
                f"does not read the defaults of the method {stage.method}"
            )
        value = value[key]
    return value


def documents(study: Study, stage: Stage, key: str) -> int:
    """Conversations that a training reads."""
    every: int = study.config["splits"]["train"]
    return min(setting(stage, f"{key}.conversations") or every, every)


def length(stage: Stage, key: str, assumed: Assumed) -> int:
    """Mean tokens of a conversation that is trained on: the cut, where padding counts."""
    longest: int = setting(stage, f"{key}.seq_len")
    return longest if setting(stage, f"{key}.count_padding") else assumed.cut(longest)


def training(stage: Stage, key: str, assumed: Assumed) -> Training:
    """A training as the settings under `key` ask for it; no steps is no training."""
    steps = setting(stage, f"{key}.steps")
    if not steps:
        return Training(0, 0, 0, 0)
    longest, batch = setting(stage, f"{key}.seq_len"), setting(stage, f"{key}.batch_size")
    weight = formulas.FP32 if setting(stage, f"{key}.weights") == "float32" else formulas.BF16
    return Training(
        steps=steps,
        batch=batch,
        mean=length(stage, key, assumed),
        longest=longest,
        accumulation=setting(stage, f"{key}.accumulation"),
        weight=weight,
        moments=demands.moment_bytes(setting(stage, f"{key}.optimizer"), weight),
        devices=setting(stage, f"{key}.devices"),
    )


def cached(study: Study, demand: Demand) -> Demand:
    """The demand of a job that holds the teacher's cache."""
    return replace(demand, memory=replace(demand.memory, host=study.gpus > 0))


def stored(parent: State, stage: Stage, shape: Architecture) -> State:
    """A shape in the parent's format, or dense where the stage dequantizes."""
    return State(shape, None if stage.on_quantized == "dequantize" else parent.storage)


def adapter(stage: Stage, shape: Architecture) -> int:
    """Parameters of the adapter that a stage's settings describe."""
    targets = str(setting(stage, "adapter.targets"))
    names = LINEARS if targets == "all-linear" else targets.split(",")
    return shape.adapter(setting(stage, "adapter.rank"), names)


def tuned(parent: State, stage: Stage) -> State:
    """What training a parent leaves: its shape; an adapter beside 4-bit weights where asked for."""
    if stage.on_quantized == "adapter" and parent.storage:
        return State(parent.shape, parent.storage, adapter(stage, parent.shape))
    return stored(parent, stage, parent.shape)


def tuning(stage: Stage, parent: State, made: State, assumed: Assumed) -> Training:
    """How a stage trains its parent: all weights, an adapter, or weights on the parent's grid."""
    how = training(stage, "training", assumed)
    if stage.method == "lora" or made.adapter:
        return replace(how, adapter=adapter(stage, parent.shape))
    return replace(how, rounded=stage.on_quantized == "fake-quant" and parent.storage is not None)


def require_whole(shape: Architecture, size: int, what: str) -> None:
    """Refuse groups of `size` columns that a linear of the decoder layers does not hold whole.

    Raises:
        HarnessError: which columns they do not divide, and which sizes would.
    """
    widths = sorted({columns for _, columns in shape.matrices})
    for columns in widths:
        if columns % size:
            whole = math.gcd(*widths)
            raise HarnessError(
                f"{what} does not divide the {columns} columns of a linear; choose a divisor of "
                f"{whole}"
            )


def windows(study: Study, stage: Stage, parent: State, assumed: Assumed) -> demands.Part:
    """A calibration on windows of equal length: as many as asked for, or as the split fills."""
    documents = study.config["splits"]["calibration"]
    longest, most = setting(stage, "seq_len"), setting(stage, "windows")
    count = most or documents * assumed.cut(longest) // longest
    return demands.forward(parent.shape, "calibration", count, longest, 0)


def packed_codes(parent: State, stage: Stage) -> State:
    """The parent's shape in packed codes of four bits, with scales and zero points."""
    size, symmetric = setting(stage, "group_size"), setting(stage, "symmetric")
    require_whole(parent.shape, size, f"group_size {size}")
    return State(parent.shape, formulas.Packed(4, size, symmetric))


def calibrated(study: Study, stage: Stage, parent: State, made: State, assumed: Assumed) -> Demand:
    """Calibrate on windows, store, prove."""
    return demands.quantize(parent, made, windows(study, stage, parent, assumed))


def zeros(parent: State, stage: Stage) -> State:
    """The parent's shape and size: zeros are stored like any weight."""
    return stored(parent, stage, parent.shape)


def zero(
    study: Study,
    stage: Stage,
    parent: State,
    made: State,
    assumed: Assumed,
    calibrates: bool = True,
) -> Demand:
    """A pruning of single weights: calibrates on windows, unless it reads no text; recovers."""
    calibration = windows(study, stage, parent, assumed) if calibrates else None
    longest = setting(stage, "seq_len") if calibrates else 0
    pattern = setting(stage, "pattern")
    if ":" in pattern:
        require_whole(parent.shape, int(pattern.partition(":")[2]), f"pattern {pattern}")
    how = training(stage, "recovery", assumed)
    return demands.prune(parent, made, calibration, 1, longest, how)


def prune(
    stage: Stage, parent: State, made: State, assumed: Assumed, documents: int, padded: bool
) -> Demand:
    """A pruning that runs the whole model over `documents` conversations, cuts, and recovers.

    `padded`: padding counts, so that every conversation is as long as the cut.
    """
    batch, longest = setting(stage, "calibration_batch"), setting(stage, "seq_len")
    mean = longest if padded else assumed.cut(longest)
    part = demands.forward(parent.shape, "calibration", documents, mean, 0)
    how = training(stage, "recovery", assumed)
    return demands.prune(parent, made, part if documents else None, batch, longest, how)
