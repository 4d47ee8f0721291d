"""Losses over a large vocabulary, in chunks of tokens.

The vocabulary, not the model, sets the cost of distilling a small model: the logits of 1024
tokens over 49,152 ids are 200 MB in float32, and a divergence needs several such tensors.
`chunked` therefore never holds more than one chunk of them, and computes the gradient in the
same pass, so that the logits are made once.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# logits [n, vocabulary] (float32 or wider) and the slice of tokens they belong to -> the sum of
# their losses (nats), and its gradient [n, vocabulary]
Loss = Callable[[Tensor, slice], tuple[Tensor, Tensor]]


def product_dtype(hidden: Tensor) -> torch.dtype:
    """The data type in which hidden states are multiplied: autocast's where it is on."""
    device = hidden.device.type
    autocast = torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if autocast else hidden.dtype


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, loss: Loss, chunk: int) -> Tensor:
        dtype = product_dtype(hidden)
        wide = torch.promote_types(hidden.dtype, torch.float32)
        h, w = hidden.detach().to(dtype), weight.detach().to(dtype)
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        grad_h = torch.empty_like(hidden)
        grad_w = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for begin in range(0, len(h), chunk):
            rows = slice(begin, min(begin + chunk, len(h)))
            value, gradient = loss((h[rows] @ w.T).to(wide), rows)
            total += value.double()
            grad_z = gradient.to(dtype)
            grad_h[rows] = (grad_z @ w).to(hidden.dtype)
            if grad_w is not None:
                grad_w += grad_z.T @ h[rows]
        ctx.save_for_backward(grad_h, grad_w)
        return total.to(wide)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        grad_h, grad_w = ctx.saved_tensors
        return grad_h * upstream, None if grad_w is None else grad_w * upstream, None, None


def chunked(hidden: Tensor, weight: Tensor, loss: Loss, chunk: int = 256) -> Tensor:
    """The sum over tokens of a loss of the logits `hidden @ weight.T`.

    Args:
        hidden: [tokens, width], the last hidden states at the tokens that count.
        weight: [vocabulary, width], the output embedding.
        loss: see `Loss`.
        chunk: tokens whose logits are in memory at a time.

    Returns:
        A scalar that is differentiable once with respect to `hidden` and `weight`.
    """
    total: Tensor = _Chunked.apply(hidden, weight, loss, chunk)
    return total


def cross_entropy(labels: Tensor) -> Loss:
    """Cross entropy of each token with its label. labels: [tokens]."""

    def loss(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        label = labels[rows, None]
        log_p = logits.log_softmax(-1)
        value = -log_p.gather(-1, label).sum()
        return value, _minus_at(log_p.exp_(), label, 1.0)

    return loss


def distillation(labels: Tensor, divergence: Loss, temperature: float, alpha: float) -> Loss:
    """(1 - alpha) CE + alpha T^2 KL(teacher || student) of each token.

    T^2 keeps the size of the soft gradient comparable when T changes (Hinton et al. 2015,
    section 2.1).

    Args:
        labels: [tokens].
        divergence: `full_kl` or `bucket_kl` at the temperature.
        temperature: divides the logits, at least 1.
        alpha: 0 to 1.
    """
    hard = cross_entropy(labels)

    def loss(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        # the divergence first: it holds most, and the other gradient would lie beside it
        soft, soft_gradient = divergence(logits, rows)
        value, gradient = hard(logits, rows)
        value = (1 - alpha) * value + alpha * temperature**2 * soft
        gradient.mul_(1 - alpha).add_(soft_gradient, alpha=alpha * temperature**2)
        return value, gradient

    return loss


def full_kl(hidden: Tensor, head: Tensor, temperature: float) -> Loss:
    """KL(teacher || student) of each token over the whole vocabulary: exact.

    The teacher's logits are made again, one chunk at a time. With t and q the softmax of the
    teacher's and the student's logits over T, the value is the sum of t (log t - log q), and its
    derivative with respect to a logit is (q - t) / T.

    Args:
        hidden: [tokens, width], the teacher's last hidden states, in `product_dtype`.
        head: [vocabulary, width], its output embedding, likewise.
        temperature: divides the logits, at least 1.
    """

    def loss(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        # in place: beside the student's logits no more than three tensors of their size
        log_t = (hidden[rows] @ head.T).to(logits.dtype).div_(temperature).log_softmax(-1)
        log_q = (logits / temperature).log_softmax(-1)
        t = log_t.exp()
        value = log_t.sub_(log_q).mul_(t).sum()
        return value, log_q.exp_().sub_(t).div_(temperature)

    return loss


def bucket_kl(ids: Tensor, teacher_log_probs: Tensor, temperature: float) -> Loss:
    """KL(teacher || student) of each token over k + 1 buckets.

    The buckets are the teacher's k likeliest ids, and all the others as one. By the data
    processing inequality this is a lower bound of the KL over the vocabulary; dropping the tail
    instead would bias the student towards the k ids.

    Args:
        ids: [tokens, k], distinct within a row.
        teacher_log_probs: [tokens, k + 1], at the temperature, the tail last.
        temperature: divides the logits, at least 1.
    """

    def loss(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        return _bucket_kl(logits, ids[rows], teacher_log_probs[rows], temperature)

    return loss


def _bucket_kl(
    logits: Tensor, ids: Tensor, teacher_log_probs: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """The sum of KL(teacher || student) over k + 1 buckets, and its gradient.

    With q = softmax(logits / T) and the teacher's buckets t, the derivative with respect to a
    logit j is (q_j - t_j) / T among the k ids and q_j (1 - t_tail / q_tail) / T elsewhere.
    """
    log_q = (logits / temperature).log_softmax(-1)
    log_top = log_q.gather(-1, ids)
    q = log_q.exp_().scatter_(-1, ids, 0.0)  # the tail alone
    tail = q.sum(-1, keepdim=True).clamp_min(torch.finfo(q.dtype).tiny)
    log_student = torch.cat([log_top, tail.log()], -1)
    teacher = teacher_log_probs.exp()
    value = (teacher * (teacher_log_probs - log_student)).sum()
    q.mul_(1 - teacher[:, -1:] / tail)
    q.scatter_(-1, ids, (log_top.exp() - teacher[:, :-1]).to(q.dtype))
    return value, q.div_(temperature)


def _minus_at(matrix: Tensor, column: Tensor, value: float) -> Tensor:
    return matrix.scatter_add_(-1, column, torch.full_like(column, -value, dtype=matrix.dtype))
