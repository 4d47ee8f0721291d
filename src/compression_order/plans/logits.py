"""Distillation, without torch: a training with the teacher's cache beside it."""

from dataclasses import replace

from compression_order import demands, plans
from compression_order.demands import Demand, State
from compression_order.evaluation_demands import Assumed
from compression_order.orderings import Stage
from compression_order.study import Study


def child(parent: State, stage: Stage) -> State:
    """The parent's shape."""
    return plans.tuned(parent, stage)


def demand(study: Study, stage: Stage, parent: State, made: State, assumed: Assumed) -> Demand:
    """Train on the training split against the cached outputs."""
    documents, k = plans.documents(study, stage, "training"), plans.setting(stage, "top_k")
    tokens = documents * plans.length(stage, "training", assumed)
    cache = demands.cache_bytes(made.shape, tokens, documents, k)
    how = plans.tuning(stage, parent, made, assumed)
    if plans.setting(stage, "reduction") == "paper":
        how = replace(how, heads=2)  # cross entropy and divergence, each from its own logits
    return plans.cached(study, demands.tune(parent, made, how, cache, demands.DIVERGENCE_LOGIT))
