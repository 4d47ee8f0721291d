"""Whether a pipeline prunes, or trains, after it has quantized: told by the kinds of its stages.

The columns `q_before_p` and `q_before_kd`, the summary and the findings all ask here, so that the
names of the stages do not matter.
"""

from collections.abc import Mapping, Sequence

from compression_order import orderings

PRUNING = ("prune",)
TRAINING = ("distill", "finetune")  # the recovery inside a pruning is part of it


def holds(pipeline: str, wanted: Sequence[str], kinds: Mapping[str, str]) -> bool | None:
    """Whether a stage of a wanted kind stands after a quantization.

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
