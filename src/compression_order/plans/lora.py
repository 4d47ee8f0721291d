"""Fine-tuning through an adapter, without torch."""

from compression_order import demands, plans
from compression_order.demands import Demand, State
from compression_order.evaluation_demands import Assumed
from compression_order.orderings import Stage
from compression_order.study import Study


def child(parent: State, stage: Stage) -> State:
    """The parent's shape."""
    return plans.tuned(parent, stage)


def demand(study: Study, stage: Stage, parent: State, made: State, assumed: Assumed) -> Demand:
    """Train on the training split."""
    return demands.tune(parent, made, plans.tuning(stage, parent, made, assumed))
