"""Magnitude pruning, without torch: zeros are stored like any weight."""

from compression_order import plans
from compression_order.demands import Demand, State
from compression_order.evaluation_demands import Assumed
from compression_order.orderings import Stage
from compression_order.study import Study


def child(parent: State, stage: Stage) -> State:
    """The parent's shape and size."""
    return plans.stored(parent, stage, parent.shape)


def demand(study: Study, stage: Stage, parent: State, made: State, assumed: Assumed) -> Demand:
    """Zero, recover."""
    return plans.zero(stage, parent, made, assumed, None)
