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
from torch.nn import functional as F

PerToken = Callable[[Tensor, slice], Tensor]


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: Tensor, weight: Tensor, per_token: PerToken, chunk: int
    ) -> Tensor:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        dtype = dtype or hidden.dtype
        h, w = hidden.detach().to(dtype), weight.detach().to(dtype)
        total = torch.zeros((), dtype=torch.float64)
        grad_h, grad_w = torch.empty_like(hidden), torch.zeros_like(weight)
        for begin in range(0, len(h), chunk):
            rows = slice(begin, min(begin + chunk, len(h)))
            loss, grad_z = _loss_and_gradient(h[rows] @ w.T, per_token, rows)
            total += loss
            grad_h[rows] = (grad_z @ w).to(hidden.dtype)
            grad_w += grad_z.T @ h[rows]
        ctx.save_for_backward(grad_h, grad_w)
        return total.to(torch.float32 if hidden.dtype != torch.float64 else torch.float64)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        grad_h, grad_w = ctx.saved_tensors
        return grad_h * upstream, grad_w * upstream, None, None


def _loss_and_gradient(logits: Tensor, per_token: PerToken, rows: slice) -> tuple[Tensor, Tensor]:
    wide = logits if logits.dtype == torch.float64 else logits.float()
    wide = wide.requires_grad_()
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        loss = per_token(wide, rows).sum()
    (gradient,) = torch.autograd.grad(loss, wide)
    return loss.detach().double(), gradient.to(logits.dtype)


def chunked(hidden: Tensor, weight: Tensor, per_token: PerToken, chunk: int = 256) -> Tensor:
    """The sum over tokens of a loss of the logits `hidden @ weight.T`.

    Args:
        hidden: [tokens, width], the last hidden states at the tokens that count.
        weight: [vocabulary, width], the output embedding.
        per_token: logits [n, vocabulary] (float32 or wider) and the slice of tokens they
            belong to -> losses [n], nats.
        chunk: tokens whose logits are in memory at a time.

    Returns:
        A scalar that is differentiable once with respect to `hidden` and `weight`.
    """
    total: Tensor = _Chunked.apply(hidden, weight, per_token, chunk)
    return total


def cross_entropy(labels: Tensor) -> PerToken:
    """Cross entropy of each token with its label. labels: [tokens]."""
    return lambda logits, rows: F.cross_entropy(logits, labels[rows], reduction="none")


def bucket_log_probs(logits: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """Log-probabilities of k + 1 buckets: the k ids of each token, and all the others as one.

    Args:
        logits: [n, vocabulary].
        ids: [n, k], distinct within a row.
        temperature: divides the logits; at least 1.

    Returns:
        [n, k + 1]; the last column is the tail.
    """
    scaled = logits / temperature
    log_z = scaled.logsumexp(-1, keepdim=True)
    tail = scaled.scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([scaled.gather(-1, ids), tail], -1) - log_z


def bucket_kl(
    logits: Tensor, ids: Tensor, teacher_log_probs: Tensor, temperature: float
) -> Tensor:
    """KL(teacher || student) over k + 1 buckets, nats for each token.

    By the data processing inequality it is a lower bound of the KL over the whole vocabulary;
    dropping the tail instead would bias the student towards the teacher's k best ids.

    Args:
        logits: [n, vocabulary], the student's.
        ids: [n, k], the teacher's k most likely ids.
        teacher_log_probs: [n, k + 1], at `temperature`, the tail last.
        temperature: divides the logits (Hinton et al. 2015, section 2, arXiv 1503.02531).
    """
    student = bucket_log_probs(logits, ids, temperature)
    return (teacher_log_probs.exp() * (teacher_log_probs - student)).sum(-1)


def distillation(
    labels: Tensor, ids: Tensor, teacher_log_probs: Tensor, temperature: float, alpha: float
) -> PerToken:
    """(1 - alpha) CE + alpha T^2 KL of each token.

    T^2 keeps the size of the gradient of the soft targets comparable when T changes (Hinton
    et al. 2015, section 2.1). Shapes as in `bucket_kl` with n = tokens; labels: [tokens].
    """
    hard = cross_entropy(labels)

    def per_token(logits: Tensor, rows: slice) -> Tensor:
        soft = bucket_kl(logits, ids[rows], teacher_log_probs[rows], temperature)
        return (1 - alpha) * hard(logits, rows) + alpha * temperature**2 * soft

    return per_token
