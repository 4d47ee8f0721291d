"""Optimal brain surgery, written plainly."""

from collections.abc import Callable

import torch
from torch import Tensor


def inverse_hessian(states: Tensor, dampening: float = 0.01) -> Tensor:
    hessian = 2 * states.T @ states
    damp = dampening * hessian.diagonal().mean()
    return torch.linalg.inv(hessian + damp * torch.eye(len(hessian)))


def solve(weight: Tensor, inverse: Tensor, order: Tensor, take: Callable[..., Tensor]) -> Tensor:
    """Optimal brain surgery, a column at a time: each column's error is spread over the others.

    Written with Gaussian elimination on the inverse Hessian, where the libraries factorize it.

    Args:
        weight: [rows, columns].
        inverse: of the Hessian.
        order: the order of the columns.
        take: (column, its weights now, all weights now, the inverse of the columns still to
            come) -> what becomes of them; all are in the order of the columns.
    """
    weight, inverse = weight[:, order].clone(), inverse[order][:, order].clone()
    for at, column in enumerate(order.tolist()):
        kept = take(column, weight[:, at].clone(), weight, inverse)
        row = inverse[at, at:].clone()
        weight[:, at:] -= torch.outer((weight[:, at] - kept) / row[0], row)
        weight[:, at] = kept
        inverse[at + 1 :, at + 1 :] -= torch.outer(row[1:] / row[0], row[1:])
    return weight[:, order.argsort()]
