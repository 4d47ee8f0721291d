"""ShortGPT, without torch: how many layers are left, and what judging them takes."""

from compression_order import cuts, plans
from compression_order.demands import Demand, State
from compression_order.evaluation_demands import Assumed
from compression_order.orderings import Stage
from compression_order.study import Study


def child(parent: State, stage: Stage) -> State:
    """The parent with fewer layers.

    Which ones go is known after the run only; where layers differ, the last but one and those
    before it are assumed to, as they mostly do.
    """
    layers = parent.shape.layers
    gone = cuts.layers_gone(layers, plans.setting(stage, "layers"), plans.setting(stage, "ratio"))
    first = max(0, layers - 1 - gone)
    kept = [i for i in range(layers) if not first <= i < first + gone]
    return plans.stored(parent, stage, cuts.layers(parent.shape, kept))


def demand(study: Study, stage: Stage, parent: State, made: State, assumed: Assumed) -> Demand:
    """One forward pass over the samples; recovery."""
    samples = plans.setting(stage, "samples") or study.config["splits"]["calibration"]
    return plans.prune(stage, parent, made, assumed, samples, padded=False)
