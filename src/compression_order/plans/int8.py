"""LLM.int8, without torch: eight bits a weight of the decoder layers' linears."""

from compression_order import demands, formulas
from compression_order.demands import Demand, State
from compression_order.evaluation_demands import Assumed
from compression_order.orderings import Stage
from compression_order.study import Study


def child(parent: State, stage: Stage) -> State:
    """The parent's shape in 8 bits."""
    return State(parent.shape, formulas.Int8())


def demand(study: Study, stage: Stage, parent: State, made: State, assumed: Assumed) -> Demand:
    """Store dense and in 8 bits, and prove."""
    return demands.quantize(parent, made)
