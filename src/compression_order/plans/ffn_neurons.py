"""Feed-forward neurons, without torch: the widths left, and what scoring and recovery take."""

from dataclasses import replace

from compression_order import cuts, plans
from compression_order.demands import Demand, State
from compression_order.evaluation_demands import Assumed
from compression_order.orderings import Stage
from compression_order.study import Study

UNCALIBRATED = ("magnitude", "random")  # scores that read no text


def child(parent: State, stage: Stage) -> State:
    """The parent with narrower feed-forward blocks."""
    ratio, step = plans.setting(stage, "ratio"), plans.setting(stage, "round_to")
    shape = cuts.neurons(parent.shape, ratio, step)
    biased = shape.mlp_bias or plans.setting(stage, "compensate")
    return plans.stored(parent, stage, replace(shape, mlp_bias=biased))


def demand(study: Study, stage: Stage, parent: State, made: State, assumed: Assumed) -> Demand:
    """Score on the calibration split, where the score reads it; cut; recover."""
    score, compensate = plans.setting(stage, "score"), plans.setting(stage, "compensate")
    passes = (score not in UNCALIBRATED) + compensate
    documents = passes * study.config["splits"]["calibration"]
    padded = plans.setting(stage, "count_padding")
    return plans.prune(stage, parent, made, assumed, documents, padded)
