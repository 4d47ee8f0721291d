"""The k likeliest ids of a teacher and the mass of all the others: a smaller, inexact cache.

About 300 bytes a token. One cache serves every temperature T >= 1: tempering needs the tail's sum
of p_i^beta with beta = 1 / T; its logarithm is a smooth convex function of beta on [0, 1] (a
cumulant generating function), so that its values at 8 Chebyshev nodes fix it: on SmolLM2's logits
to 2e-3 nats of the tail's log-mass at worst, 2e-7 nats of the divergence
(tests/training/test_buckets.py).

What it loses is the shape of the tail, and at T > 1 that is most of the divergence: `kept`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.interpolate import BarycentricInterpolator
from torch import Tensor
from transformers import PreTrainedModel

from compression_order.common.errors import HarnessError
from compression_order.text import chat
from compression_order.training import forward, losses

NODES = 8


def beta_nodes() -> np.ndarray:
    """Chebyshev nodes of the second kind on [0, 1]; both ends are nodes."""
    return (1 - np.cos(np.pi * np.arange(NODES) / (NODES - 1))) / 2


def at_beta(tail: Tensor, beta: float) -> Tensor:
    """Interpolate the tails to one inverse temperature.

    Args:
        tail: [tokens, NODES], log sum of p_i^beta over the tail at each node.
        beta: 0 to 1.

    Returns:
        [tokens].
    """
    unit = BarycentricInterpolator(beta_nodes(), np.eye(NODES))
    weights = torch.from_numpy(np.asarray(unit(beta))).float()
    return tail @ weights.to(tail.device)


def outputs(logits: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the cache keeps of logits [n, vocabulary]: ids and log-probs [n, k], tail [n, NODES]."""
    log_probs = logits.float().log_softmax(-1)
    top, ids = log_probs.topk(k)
    rest = log_probs.scatter(-1, ids, -torch.inf)
    tail = [(float(b) * rest if b else _support(rest)).logsumexp(-1) for b in beta_nodes()]
    return ids, top, torch.stack(tail, -1)


def require_tail(k: int, vocabulary: int) -> None:
    """Refuse a k that leaves no id for the tail.

    Raises:
        HarnessError: it does.
    """
    if k >= vocabulary:
        raise HarnessError(
            f"top_k {k} leaves nothing of the vocabulary of {vocabulary} ids for the tail; "
            "lower top_k, or set it to 0 for the whole vocabulary"
        )


def _support(rest: Tensor) -> Tensor:
    # 0 * -inf is not a number: at beta = 0 every id of the tail counts as 1
    return torch.where(rest.isinf(), rest, torch.zeros_like(rest))


def tempered(top: Tensor, tail: Tensor, temperature: float) -> Tensor:
    """Log-probabilities of the k + 1 buckets at a temperature.

    Args:
        top: [tokens, k], log-probabilities at temperature 1.
        tail: [tokens, NODES].
        temperature: at least 1.

    Returns:
        [tokens, k + 1], the tail last.
    """
    rest = at_beta(tail, 1 / temperature)
    return torch.cat([top / temperature, rest[:, None]], -1).log_softmax(-1)


def measured(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    documents: Sequence[chat.Encoded],
    k: int,
    vocabulary: int,
    temperatures: Sequence[float],
) -> dict[str, Tensor]:
    """Measure what `top_k` keeps of the exact divergence, to be stored beside a cache.

    Args:
        teacher: the teacher.
        student: another model; against itself the divergence is zero and has no shares.
        documents: a sample of the training split.
        k: ids kept a token.
        vocabulary: rows that teacher and student share.
        temperatures: each at least 1.

    Returns:
        `temperatures` [n], and `kl_kept` [n], shares.

    Raises:
        HarnessError: `k` leaves no id for the tail.
    """
    require_tail(k, vocabulary)
    both = []
    for model in (teacher, student):
        found: dict[int, Tensor] = {}
        for batch in forward.trained_states(model, documents):
            found |= batch
        head = model.get_output_embeddings().weight[:vocabulary].detach()
        both.append((torch.cat([found[place] for place in range(len(documents))]), head))
    shares = kept(both[0], both[1], k, temperatures)
    return {
        "temperatures": torch.tensor(temperatures, dtype=torch.float64),
        "kl_kept": torch.tensor(shares, dtype=torch.float64),
    }


def kept(
    teacher: tuple[Tensor, Tensor],
    student: tuple[Tensor, Tensor],
    k: int,
    temperatures: Sequence[float],
) -> list[float]:
    """The share of the exact KL(teacher || student) that k ids and a tail keep, a temperature each.

    Args:
        teacher: its last hidden states [tokens, width], and its output embedding.
        student: likewise, on the same tokens and over the same vocabulary.
        k: ids kept a token.
        temperatures: each at least 1.
    """
    (hidden, head), (its_hidden, its_head) = teacher, student
    sums = torch.zeros(2, len(temperatures), dtype=torch.float64)
    for rows in forward.chunks(len(hidden)):
        logits = (its_hidden[rows] @ its_head.T).float()
        ids, top, tail = outputs(hidden[rows] @ head.T, k)
        for nth, temperature in enumerate(temperatures):
            ours = losses.bucket_kl(ids, tempered(top, tail, temperature), temperature)
            exact = losses.full_kl(hidden[rows], head, temperature)
            for row, loss in enumerate((ours, exact)):
                sums[row, nth] += loss(logits, slice(None))[0].double().cpu()
    return [float(share) for share in sums[0] / sums[1]]
