"""Decide from the kinds of its stages whether a pipeline prunes, or trains, after quantizing.

The columns `q_before_p` and `q_before_kd`, the summary and the findings all use this module, so
that the names of the stages do not matter.
"""

from collections.abc import Mapping, Sequence

from compression_order import orderings

PRUNING = ("prune",)
TRAINING = ("distill", "finetune")  # recovery training inside pruning is part of pruning


def holds(pipeline: str, wanted: Sequence[str], kinds: Mapping[str, str]) -> bool | None:
    """Whether a stage of a wanted kind comes after a quantization.

    Args:
        pipeline: the row.
        wanted: kinds of stage.
        kinds: token -> kind of stage.

    Returns:
        None where the pipeline does not have both.
    """
    its = [kinds.get(token, "") for token in orderings.split(pipeline)]
    if "quantize" not in its or not any(kind in wanted for kind in its):
        return None
    return any(kind in wanted for kind in its[its.index("quantize") :])
