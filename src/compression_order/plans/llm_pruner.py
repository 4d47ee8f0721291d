"""LLM-Pruner, without torch: the widths left, and what the gradients and recovery take."""

from dataclasses import replace

from compression_order import cuts, demands, plans
from compression_order.demands import Demand, State, Training
from compression_order.evaluation_demands import Assumed
from compression_order.orderings import Stage
from compression_order.study import Study


def child(parent: State, stage: Stage) -> State:
    """The parent with fewer heads and neurons, or with fewer hidden channels."""
    ratio, step = plans.setting(stage, "ratio"), plans.setting(stage, "round_to")
    if plans.setting(stage, "part") == "channel":
        shape = cuts.channels(parent.shape, ratio, step)
    else:
        first, last = plans.setting(stage, "skip_first"), plans.setting(stage, "skip_last")
        shape = cuts.blocks(parent.shape, ratio, first, last, step)
    return plans.stored(parent, stage, shape)


def demand(study: Study, stage: Stage, parent: State, made: State, assumed: Assumed) -> Demand:
    """Differentiate the samples through the whole model in float32; cut; recover."""
    count, length = plans.setting(stage, "samples"), plans.setting(stage, "seq_len")
    batch = min(plans.setting(stage, "calibration_batch"), count)
    how = plans.training(stage, "recovery", assumed)
    gradients = demands.trained(parent.shape, "gradients", Training(1, count, length, length))
    recovery = [demands.trained(made.shape, "recovery", how)] if how.steps else []
    once = Training(1, batch, length, length)
    step = demands.training_memory(parent.shape, once, 0, demands.ENTROPY_LOGIT)
    # no optimizer; activations of twice the bytes at most
    peaks = [replace(step, optimizer=0, activations=2 * step.activations)]
    if recovery:
        peaks.append(demands.training_memory(made.shape, how, 0, demands.ENTROPY_LOGIT))
    parts = (gradients, *recovery, demands.proof(made.shape))
    highest = max(peaks, key=lambda memory: memory.peak)
    return Demand(parts, highest, *demands.stored(parent, made, 0))
