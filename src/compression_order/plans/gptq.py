"""GPTQ, without torch: packed codes of four bits, scales and zero points."""

from compression_order import demands, formulas, plans
from compression_order.demands import Demand, State
from compression_order.evaluation_demands import Assumed
from compression_order.orderings import Stage
from compression_order.study import Study


def child(parent: State, stage: Stage) -> State:
    """The parent's shape in packed codes."""
    size, symmetric = plans.setting(stage, "group_size"), plans.setting(stage, "symmetric")
    plans.require_whole(parent.shape, size, f"group_size {size}")
    return State(parent.shape, formulas.Packed(4, size, symmetric))


def demand(study: Study, stage: Stage, parent: State, made: State, assumed: Assumed) -> Demand:
    """Calibrate, store, prove."""
    documents = study.config["splits"]["calibration"]
    return demands.quantize(parent, made, plans.windows(stage, parent, assumed, documents))
