"""What structural pruning leaves of an architecture: the widths that the methods cut to.

Pure Python: a stage and the planner ask the same functions. Cuts of equal models give one object,
which counts its parameters once for all pipelines that share it.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from compression_order.architecture.shapes import Architecture, Block
from compression_order.architecture.storage import kept_width
from compression_order.common.errors import HarnessError


@cache
def neurons(before: Architecture, ratio: float, round_to: int) -> Architecture:
    """The same share of feed-forward neurons gone from every layer.

    Raises:
        HarnessError: nothing would go, or nothing would be left.
    """
    widths = [kept_width(block.ffn, ratio, round_to) for block in before.blocks]
    return before.with_ffn(widths)


def layers_gone(layers: int, count: int, ratio: float) -> int:
    """How many of `layers` layers go: `count`, or where that is 0 `int(ratio * layers)`.

    Raises:
        HarnessError: none would go, or all, or both a count and a ratio are given.
    """
    if count and ratio:
        raise HarnessError(
            f"layers {count} and ratio {ratio} both say how many layers go; set one of them to 0"
        )
    gone = count or int(ratio * layers)
    if not 0 < gone < layers:
        said = f"layers {count}" if count else f"ratio {ratio}"
        raise HarnessError(
            f"{said} removes {gone} of {layers} layers; choose one that removes at least 1 and "
            "keeps at least 1"
        )
    return gone


def layers(before: Architecture, kept: Sequence[int]) -> Architecture:
    """Only these layers."""
    return replace(before, blocks=tuple(before.blocks[i] for i in kept))


def channels_left(width: int, ratio: float, round_to: int, what: str) -> int:
    """`int(width * (1 - ratio))`, as LLM-Pruner counts, to the nearest multiple of `round_to`.

    Raises:
        HarnessError: nothing would be left.
    """
    left = round_to * round(int(width * (1 - ratio)) / round_to)
    if not 0 < left <= width:
        raise HarnessError(
            f"ratio {ratio} with round_to {round_to} leaves {left} of {width} {what}; choose a "
            "ratio and a rounding that leave some"
        )
    return left


def groups_left(block: Block, head_dim: int, ratio: float) -> int:
    """The key/value heads left of a layer; each goes with all query heads that share it.

    As LLM-Pruner counts: of c channels of queries c - int(c * (1 - ratio)) go, but only as many
    whole groups as fit into that.

    Raises:
        HarnessError: none would be left.
    """
    channels = block.heads * head_dim
    group = channels // block.key_value_heads
    left = block.key_value_heads - (channels - int(channels * (1 - ratio))) // group
    if left < 1:
        raise HarnessError(
            f"ratio {ratio} leaves none of {block.key_value_heads} key/value heads; choose a "
            "smaller one"
        )
    return left


@cache
def blocks(
    before: Architecture, ratio: float, skip_first: int, skip_last: int, round_to: int
) -> Architecture:
    """Heads and feed-forward neurons gone from all layers but the first and the last few.

    Raises:
        HarnessError: no layer is left to prune, a layer would be emptied, or nothing would go.
    """
    chosen = range(skip_first, before.layers - skip_last)
    if not chosen:
        raise HarnessError(
            f"skip_first {skip_first} and skip_last {skip_last} leave none of {before.layers} "
            "layers to prune; lower them"
        )

    def cut(block: Block) -> Block:
        shared = groups_left(block, before.head_dim, ratio)
        heads = block.heads // block.key_value_heads * shared
        return Block(channels_left(block.ffn, ratio, round_to, "FFN neurons"), heads, shared)

    pairs = enumerate(before.blocks)
    after = replace(before, blocks=tuple(cut(b) if i in chosen else b for i, b in pairs))
    return _changed(before, after, ratio, round_to)


@cache
def channels(before: Architecture, ratio: float, round_to: int) -> Architecture:
    """Hidden channels gone from the embedding, the norms and every linear.

    Raises:
        HarnessError: nothing would be left, or nothing would go.
    """
    hidden = channels_left(before.hidden, ratio, round_to, "hidden channels")
    return _changed(before, replace(before, hidden=hidden), ratio, round_to)


def _changed(
    before: Architecture, after: Architecture, ratio: float, round_to: int
) -> Architecture:
    if before == after:
        raise HarnessError(
            f"ratio {ratio} with round_to {round_to} removes nothing; choose a larger ratio or a "
            "smaller rounding"
        )
    return after
