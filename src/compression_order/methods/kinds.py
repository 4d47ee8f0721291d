"""What methods of one kind share: their common settings, what they make, and what that takes.

Pure Python: the Snakefile, the planner, `--help` and the docs read it. No result depends on this
module or on a method's `settings.py`: their values reach a stage as flags.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from compression_order.architecture import demands, storage
from compression_order.architecture.demands import Demand, Part, State
from compression_order.architecture.memory import TrainingRun
from compression_order.checkpoint.settings import Adapter
from compression_order.common.declare import Role, Settings
from compression_order.common.errors import HarnessError
from compression_order.methods import formulas
from compression_order.methods.formulas import DEQUANTIZE, FAKE_QUANT, Context
from compression_order.training.settings import Training

# what a stage does with a quantized parent
REQUANTIZE, REFUSE = "requantize", "refuse"
ADAPTER = "adapter"
UNSTRUCTURED: Final = "unstructured"
COMPOUND: Final = "compound"

CalibrationBatch = Annotated[int, Field(ge=1, description="conversations a calibration batch")]
CalibrationLength = Annotated[
    int, Field(ge=8, description="longest calibration conversation, tokens")
]
Window = Annotated[int, Field(ge=8, description="tokens a calibration window")]
Windows = Annotated[
    int,
    Field(ge=0, description="calibration windows, the first of the split; 0 = all that it holds"),
]
Symmetric = Annotated[bool, Field(description="no zero points")]
RoundTo = Annotated[int, Field(ge=1, description="the width left is a multiple of this many")]
Dampening = Annotated[
    float,
    Field(gt=0, description="added to the diagonal of the Hessian, as a share of its mean"),
]


class Method(Settings):
    """The base of every method's settings.

    Attributes:
        kind: of stage: prune, distill, finetune or quantize; its script has that name.
        environment: that it runs in.
        rules: what it can do with a quantized parent.
        adapts: whether it always trains an adapter.
    """

    kind: ClassVar[str]
    environment: ClassVar[str] = "core"
    rules: ClassVar[tuple[str, ...]] = (REQUANTIZE, DEQUANTIZE, REFUSE)
    adapts: ClassVar[bool] = False

    def child(self, parent: State, context: Context) -> State:
        """The checkpoint that a stage makes of a parent: here the parent's shape.

        Raises:
            HarnessError: it would leave nothing or change nothing.
        """
        return formulas.stored(parent, context, parent.shape)

    def demand(self, parent: State, made: State, context: Context) -> Demand:
        """What one job takes."""
        raise NotImplementedError

    def trains_adapter(self, on_quantized: str) -> bool:
        """Whether a stage may train an adapter: always, or only on a quantized parent."""
        return self.adapts or on_quantized == ADAPTER

    def used(self, on_quantized: str) -> dict[str, Any]:
        """The settings, without those of an adapter that is never trained."""
        left_out = set() if self.trains_adapter(on_quantized) else {"adapter"}
        return self.model_dump(exclude=left_out)

    @property
    def trainings(self) -> Mapping[str, Training]:
        """The trainings that run, by the name of their setting."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {n: its for n, its in found.items() if isinstance(its, Training) and its.steps}

    @property
    def devices(self) -> int:
        """Devices, and processes, that the settings ask for: 1 where nothing is trained."""
        return max((its.devices for its in self.trainings.values()), default=1)

    def require_shareable(self, on_quantized: str, prefix: str = "") -> None:
        """Refuse what a training on several devices would do wrong.

        Args:
            on_quantized: what the stage does with a quantized parent.
            prefix: where the settings stand, for messages, such as `stages.KD.`.

        Raises:
            HarnessError: the batches cannot be shared evenly, or the loss or the optimizer needs
                what one device does not see.
        """
        for key, its in self.trainings.items():
            if its.devices > 1:
                self._require_shareable(key, its, on_quantized, prefix)

    def _require_shareable(self, key: str, its: Training, on_quantized: str, prefix: str) -> None:
        count, size = its.devices, its.batch_size
        if size % count:
            raise HarnessError(
                f"{prefix}{key}.batch_size: {size} conversations cannot be shared evenly by "
                f"{count} devices; make it a multiple of {count}, or change {prefix}{key}.devices"
            )
        if its.optimizer == "adamw-8bit":
            raise HarnessError(
                f"{prefix}{key}.optimizer: 'adamw-8bit' cannot be sharded over {count} devices; "
                f"use adamw, or set {prefix}{key}.devices to 1"
            )
        if self.trains_adapter(on_quantized) or on_quantized == FAKE_QUANT:
            what = "an adapter" if self.adapts else f"`on_quantized: {on_quantized}`"
            raise HarnessError(
                f"{prefix}{key}.devices: {what} trains on one device, not on {count}; set it to 1"
            )


class Prune(Method):
    """A pruning, and the fine-tuning that follows."""

    kind: ClassVar[str] = "prune"

    recovery: Training = Training()


class Structured(Prune):
    """A pruning of neurons, heads, channels or layers: the model gets smaller.

    Its recovery may see the weights as they will be stored (`fake-quant`).
    """

    rules: ClassVar[tuple[str, ...]] = (REQUANTIZE, DEQUANTIZE, FAKE_QUANT, REFUSE)

    calibration_batch: CalibrationBatch = 4
    seq_len: CalibrationLength = 256

    def pruned(
        self, parent: State, made: State, context: Context, documents: int, padded: bool = False
    ) -> Demand:
        """Run the whole model over `documents` conversations, cut, recover.

        `padded`: padding counts, so that every conversation is as long as the cut.
        """
        mean = self.seq_len if padded else context.assumed.cut(self.seq_len)
        part = demands.forward(parent.shape, "calibration", documents, mean, 0)
        how = formulas.run_on(self.recovery, parent, context)
        batch, longest = self.calibration_batch, self.seq_len
        return demands.prune(parent, made, part if documents else None, batch, longest, how)


class Zeroing(Prune):
    """A pruning of single weights: they become zero, and the shape stays."""

    sparsity: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description="share of the weights of every linear to set to zero, greater than 0 and "
            "less than 1",
        ),
        Role.STRENGTH,
    ] = 0.5
    pattern: Annotated[
        str,
        Field(
            pattern="^(unstructured|[1-9][0-9]*:[1-9][0-9]*)$",
            description="unstructured, or n:m, where n of every m weights of a row stay (2:4, 4:8)",
        ),
        Role.STRENGTH,
    ] = UNSTRUCTURED
    again: Annotated[
        Literal["compound", "published-no-op"],
        Field(
            description="a second pass takes its share of the weights left (compound), or of all, "
            "zeros included, and so does nothing (published-no-op, as published)"
        ),
    ] = COMPOUND

    def zeroed(
        self, parent: State, made: State, context: Context, calibration: Part | None, cut: int
    ) -> Demand:
        """Calibrate where a text is read, zero weights, recover.

        Raises:
            HarnessError: the pattern does not divide the columns of a linear.
        """
        if ":" in self.pattern:
            columns = int(self.pattern.partition(":")[2])
            formulas.require_whole(parent.shape, columns, f"pattern {self.pattern}")
        return demands.prune(
            parent, made, calibration, 1, cut, formulas.run_of(self.recovery, context)
        )


class CalibratedZeroing(Zeroing):
    """A pruning of single weights that reads windows of the calibration text."""

    environment: ClassVar[str] = "quant"

    seq_len: Window = 256
    windows: Windows = 0

    def demand(self, parent: State, made: State, context: Context) -> Demand:
        """Calibrate, zero weights, recover."""
        part = formulas.windows(self.windows, self.seq_len, parent, context)
        return self.zeroed(parent, made, context, part, self.seq_len)


class Quantize(Method):
    """A quantization of the decoder layers' linears."""

    kind: ClassVar[str] = "quantize"

    def demand(self, parent: State, made: State, context: Context) -> Demand:
        """Store dense and quantized, and prove."""
        return demands.quantize(parent, made)


class Packed(Quantize):
    """Codes of four bits in packed words, found on windows of the calibration text."""

    environment: ClassVar[str] = "quant"

    group_size: Annotated[
        int,
        Field(
            ge=8,
            multiple_of=8,
            description="columns that share a scale; it must divide the columns of every linear",
        ),
    ] = 128
    symmetric: Symmetric = True
    seq_len: Window = 256
    windows: Windows = 0

    def child(self, parent: State, context: Context) -> State:
        """The parent's shape in packed codes, with scales and zero points."""
        formulas.require_whole(parent.shape, self.group_size, f"group_size {self.group_size}")
        return State(parent.shape, storage.Packed(4, self.group_size, self.symmetric))

    def demand(self, parent: State, made: State, context: Context) -> Demand:
        """Calibrate on windows, store, prove."""
        part = formulas.windows(self.windows, self.seq_len, parent, context)
        return demands.quantize(parent, made, part)


class Tune(Method):
    """A training on the training split that keeps the parent's shape."""

    training: Training = Training(steps=32)

    def demand(self, parent: State, made: State, context: Context) -> Demand:
        """Train on the training split."""
        return demands.tune(parent, made, self.run(parent, made, context))

    def run(self, parent: State, made: State, context: Context) -> TrainingRun:
        """How the parent trains: all weights, as they are or seen through the parent's grid."""
        return formulas.run_on(self.training, parent, context)


class Adapted(Tune):
    """A training that can be one of an adapter."""

    adapter: Adapter = Adapter()

    def child(self, parent: State, context: Context) -> State:
        """The parent's shape; with an adapter beside quantized weights where asked for."""
        if context.on_quantized == ADAPTER and parent.storage:
            beside = formulas.adapter_parameters(self.adapter, parent.shape)
            return State(parent.shape, parent.storage, beside)
        return super().child(parent, context)

    def run(self, parent: State, made: State, context: Context) -> TrainingRun:
        """How the parent trains: in an adapter, or in all weights."""
        if not self.adapts and not made.adapter:
            return super().run(parent, made, context)
        parameters = formulas.adapter_parameters(self.adapter, parent.shape)
        return replace(formulas.run_of(self.training, context), adapter=parameters)
