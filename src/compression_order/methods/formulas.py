"""From the settings of a stage to what the planner counts. Pure Python; no result depends on it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from compression_order.architecture import demands, memory, storage
from compression_order.architecture.demands import Assumed, Part, State
from compression_order.architecture.families.family import LINEARS
from compression_order.architecture.memory import TrainingRun
from compression_order.architecture.shapes import Architecture
from compression_order.checkpoint.settings import EVERY, Adapter
from compression_order.common.errors import HarnessError
from compression_order.training.settings import Training

DEQUANTIZE = "dequantize"  # a stage on a quantized parent leaves it dense
FAKE_QUANT = "fake-quant"  # or trains what it will store, rounded


@dataclass(frozen=True)
class Context:
    """What a plan knows of the study around a stage.

    Attributes:
        on_quantized: what the stage does with a quantized parent.
        parts: conversations of each part that trainings read.
        calibration: conversations of the calibration split.
        on_gpu: whether the study computes on a GPU.
        number: bytes of a number that products are made of.
        assumed: what the study file does not say.
        teacher: shape of the model that a distillation learns from; None for other stages.
    """

    on_quantized: str
    parts: Mapping[str, int]
    calibration: int
    on_gpu: bool
    number: int
    assumed: Assumed
    teacher: Architecture | None = None


def stored(parent: State, context: Context, shape: Architecture) -> State:
    """A shape in the parent's format, or dense where the stage dequantizes."""
    return State(shape, None if context.on_quantized == DEQUANTIZE else parent.storage)


def documents(how: Training, context: Context) -> int:
    """Conversations that a training reads."""
    whole = sum(context.parts.values()) if how.part == "both" else context.parts[how.part]
    return min(how.conversations or whole, whole)


def length(how: Training, context: Context) -> int:
    """Mean tokens of a conversation that is trained on: the cut, where padding counts."""
    return how.seq_len if how.count_padding else context.assumed.cut(how.seq_len)


def run_of(how: Training, context: Context) -> TrainingRun:
    """A training as its settings ask for it; no steps is no training."""
    if not how.steps:
        return TrainingRun(0, 0, 0, 0)
    weight = storage.FP32 if how.weights == "float32" else storage.BF16
    return TrainingRun(
        steps=how.steps,
        batch=how.batch_size,
        mean=length(how, context),
        longest=how.seq_len,
        accumulation=how.accumulation,
        weight=weight,
        moments=memory.moment_bytes(how.optimizer, weight),
        devices=how.devices,
        number=context.number,
        masked=how.count_padding,
    )


def run_on(how: Training, parent: State, context: Context) -> TrainingRun:
    """The same on a parent: all weights, as they are or seen through the parent's grid."""
    rounded = context.on_quantized == FAKE_QUANT and parent.storage is not None
    return replace(run_of(how, context), rounded=rounded)


def adapter_parameters(its: Adapter, shape: Architecture) -> int:
    """Parameters of an adapter on a model of that shape."""
    names = LINEARS if its.targets == EVERY else its.targets.split(",")
    return shape.adapter(its.rank, names)


def require_whole(shape: Architecture, size: int, what: str) -> None:
    """Refuse groups of `size` columns that a linear of the decoder layers does not hold whole.

    Raises:
        HarnessError: which columns they do not divide, and which sizes would.
    """
    widths = sorted({columns for _, columns in shape.matrices})
    for columns in widths:
        if columns % size:
            raise HarnessError(
                f"{what} does not divide the {columns} columns of a linear; choose a divisor of "
                f"{math.gcd(*widths)}"
            )


def windows(count: int, longest: int, parent: State, context: Context) -> Part:
    """A calibration on windows of equal length: as many as asked for, or as the split fills."""
    filled = context.calibration * context.assumed.cut(longest) // longest
    return demands.forward(parent.shape, "calibration", count or filled, longest, 0)
