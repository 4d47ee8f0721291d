"""What a study may say of LLM-Pruner. Pure Python."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from compression_order.architecture import cuts, demands, memory
from compression_order.architecture.demands import Demand, State
from compression_order.architecture.memory import TrainingRun
from compression_order.common.declare import Role
from compression_order.methods import formulas, kinds
from compression_order.methods.formulas import Context


class Settings(kinds.Structured):
    """Remove coupled weights by their Taylor importance (Ma et al. 2023, sections 3.1 and 3.2)."""

    part: Annotated[
        Literal["block", "channel"],
        Field(
            description="what goes; block is attention heads and FFN neurons, channel is hidden "
            "channels of the whole model"
        ),
    ] = "block"
    ratio: Annotated[
        float,
        Field(gt=0, lt=1, description="share of it to remove, greater than 0 and less than 1"),
        Role.STRENGTH,
    ] = 0.25
    skip_first: Annotated[
        int, Field(ge=0, description="layers at the beginning that stay whole (block)")
    ] = 4
    skip_last: Annotated[
        int, Field(ge=0, description="layers at the end that stay whole (block)")
    ] = 2
    round_to: kinds.RoundTo = 1
    samples: Annotated[
        int,
        Field(
            ge=1,
            description="calibration conversations of at least seq_len tokens to differentiate",
        ),
    ] = 10
    calibration_batch: kinds.CalibrationBatch = 10
    seq_len: kinds.CalibrationLength = 64

    def child(self, parent: State, context: Context) -> State:
        """The parent with fewer heads and neurons, or with fewer hidden channels."""
        if self.part == "channel":
            shape = cuts.channels(parent.shape, self.ratio, self.round_to)
        else:
            first, last = self.skip_first, self.skip_last
            shape = cuts.blocks(parent.shape, self.ratio, first, last, self.round_to)
        return formulas.stored(parent, context, shape)

    def demand(self, parent: State, made: State, context: Context) -> Demand:
        """Differentiate the samples through the whole model in float32; cut; recover."""
        count, length = self.samples, self.seq_len
        how = formulas.run_on(self.recovery, parent, context)
        run = TrainingRun(1, count, length, length)
        gradients = demands.trained(parent.shape, "gradients", run)
        recovery = [demands.trained(made.shape, "recovery", how)] if how.steps else []
        once = TrainingRun(1, min(self.calibration_batch, count), length, length)
        step = memory.training_memory(parent.shape, once, 0, memory.ENTROPY_LOGIT)
        # no optimizer; activations of twice the bytes at most
        peaks = [replace(step, optimizer=0, activations=2 * step.activations)]
        if recovery:
            peaks.append(memory.training_memory(made.shape, how, 0, memory.ENTROPY_LOGIT))
        parts = (gradients, *recovery, demands.proof(made.shape))
        highest = max(peaks, key=lambda memory: memory.peak)
        return Demand(parts, highest, *demands.stored(parent, made, 0))
