"""How many weights a pruning of single weights zeroes: any share, or n:m patterns, once or again.

"Again" has two meanings. `compound`: the share is taken of the weights that are left, so that a
second pass at s on an s-sparse model reaches 1 - (1 - s)^2, and a second 2:4 pass 1:4.
`published-no-op`: the share is taken of all weights, zeros included; they have the lowest score
and fill the quantile again, so that a second pass changes nothing. That is what the published
script did.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from compression_order.checkpoint import masks
from compression_order.common.errors import HarnessError
from compression_order.methods.kinds import COMPOUND, UNSTRUCTURED, Zeroing


@dataclass(frozen=True)
class Goal:
    """What one pass must reach.

    Attributes:
        shares: linear -> share of its weights that are zero in the end.
        zeros: in every group of `of` weights along a row so many are zero; 0 of 0 without a
            pattern.
        of: weights a group.
    """

    shares: Mapping[str, float]
    zeros: int = 0
    of: int = 0


def goal(model: PreTrainedModel, settings: Zeroing) -> Goal:
    """The zeros that a pass must reach, from those that the model has.

    Raises:
        HarnessError: sparsity and pattern disagree, the pattern does not divide the columns, or
            nothing would be left.
    """
    before = masks.of(model) if settings.again == COMPOUND else {}
    names = [name for name, _ in masks.linears(model)]
    if settings.pattern == UNSTRUCTURED:
        had = {name: float(mask.float().mean()) for name, mask in before.items()}
        share = settings.sparsity
        return Goal({name: share + (1 - share) * had.get(name, 0.0) for name in names})
    stays, of = _parsed(model, settings)
    left = stays * _fullest(before, of) // of
    if left == 0:
        raise HarnessError(
            f"pattern {settings.pattern} again leaves no weight of every {of}; the model has "
            f"{_fullest(before, of)} of {of} left; leave this stage out"
        )
    return Goal(dict.fromkeys(names, 1 - left / of), of - left, of)


def _parsed(model: PreTrainedModel, settings: Zeroing) -> tuple[int, int]:
    stays, of = map(int, settings.pattern.split(":"))
    if not 0 < stays < of:
        raise HarnessError(
            f"pattern {settings.pattern} keeps {stays} of every {of} weights; it must keep some "
            "and not all, as 2:4 does"
        )
    if abs(settings.sparsity - (1 - stays / of)) > 1e-9:
        raise HarnessError(
            f"sparsity {settings.sparsity} is not that of pattern {settings.pattern}, which is "
            f"{1 - stays / of}; write sparsity: {1 - stays / of}"
        )
    for name, linear in masks.linears(model):
        if linear.in_features % of:
            raise HarnessError(
                f"pattern {settings.pattern}: {of} does not divide the {linear.in_features} "
                f"columns of {name}; choose a pattern that does, or unstructured"
            )
    return stays, of


def _fullest(before: Mapping[str, Tensor], of: int) -> int:
    """The weights left in the fullest group of any linear."""
    found = [int((~mask).unflatten(1, (-1, of)).sum(-1).max()) for mask in before.values()]
    return max(found, default=of)


def require(model: PreTrainedModel, wanted: Goal) -> dict[str, Any]:
    """Check the zeros of every linear, declare them pruned, and describe them for the manifest.

    A share may miss its goal by one weight a row: methods count whole weights a row or a block.

    Raises:
        HarnessError: a linear has more zeros or fewer.
    """
    for name, linear in masks.linears(model):
        zero = linear.weight.detach() == 0
        share = float(zero.float().mean())
        if abs(share - wanted.shares[name]) > 1 / linear.in_features + 1e-6:
            raise HarnessError(
                f"{name}: {share:.4f} of the weights are zero, {wanted.shares[name]:.4f} are asked"
            )
        if wanted.of:
            fewest = int(zero.unflatten(1, (-1, wanted.of)).sum(-1).min())
            if fewest < wanted.zeros:
                raise HarnessError(
                    f"{name}: a group of {wanted.of} weights has {fewest} zeros, "
                    f"{wanted.zeros} are asked"
                )
    masks.take(model)
    asked = sorted(wanted.shares.values())
    return {"asked": [asked[0], asked[-1]], **masks.shares(model)}
