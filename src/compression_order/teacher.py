"""The teacher's outputs on the training text, computed once for every distillation of a study.

For each token that is trained on: the k likeliest ids with their log-probabilities, and the
log-mass of all the other ids. About 300 bytes a token instead of two bytes an id of the
vocabulary.

The cache serves every temperature T >= 1. Tempering needs the tail's sum of p_i^beta with
beta = 1 / T; its logarithm is a smooth convex function of beta on [0, 1] (a cumulant
generating function), so that its values at 8 Chebyshev nodes fix it: on SmolLM2's logits to
2e-3 nats of the tail's log-mass at worst, 2e-7 nats of the divergence (tests/test_teacher.py).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.interpolate import BarycentricInterpolator
from torch import Tensor
from transformers import PreTrainedModel

from compression_order import chat, files, training
from compression_order.errors import HarnessError
from compression_order.runtime import Progress

NODES = 8


def key(documents: Sequence[chat.Encoded], k: int) -> str:
    """Digest of everything that decides which tokens a cache holds, and how much of each."""
    return files.digest([[[d.index, d.ids, d.labels] for d in documents], k])


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
    return tail @ weights


def outputs(logits: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the cache keeps of logits [n, vocabulary]: ids and log-probs [n, k], tail [n, NODES]."""
    log_probs = logits.float().log_softmax(-1)
    top, ids = log_probs.topk(k)
    rest = log_probs.scatter(-1, ids, -torch.inf)
    tail = [(float(b) * rest if b else _support(rest)).logsumexp(-1) for b in beta_nodes()]
    return ids, top, torch.stack(tail, -1)


def _support(rest: Tensor) -> Tensor:
    # 0 * -inf is not a number: at beta = 0 every id of the tail counts as 1
    return torch.where(rest.isinf(), rest, torch.zeros_like(rest))


def write(
    path: Path,
    model: PreTrainedModel,
    documents: Sequence[chat.Encoded],
    k: int,
    label: str,
) -> None:
    """Run the teacher over the documents and store its outputs.

    Args:
        path: the safetensors file.
        model: the teacher.
        documents: the training split, in the order of the file.
        k: ids kept a token.
        label: the job's name on its progress lines.

    Raises:
        HarnessError: `k` leaves no id for the tail.
    """
    head = model.get_output_embeddings().weight
    if k >= head.shape[0]:
        raise HarnessError(
            f"top_k {k} leaves nothing of the vocabulary of {head.shape[0]} ids for the tail; "
            "lower top_k"
        )
    narrow = torch.uint16 if head.shape[0] <= 2**16 else torch.int32
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    progress = Progress(label, "document", len(documents))
    with torch.no_grad():
        for done, document in enumerate(documents, 1):
            states = training.hidden_states(model, chat.batch([document], 0))[0]
            found.append(outputs(states[document.loss_positions()] @ head.T, k))
            progress.update(done)
    ids, top, tail = (torch.cat(parts) for parts in zip(*found, strict=True))
    counts = [len(document.loss_positions()) for document in documents]
    tensors = {
        "ids": ids.to(narrow),
        "log_probs": top.to(torch.float16),
        "tail": tail,
        "counts": torch.tensor(counts),
        "documents": torch.tensor([document.index for document in documents]),
    }
    with files.replacing(path) as aside:
        save_file(tensors, aside, {"key": key(documents, k)})


class Cache:
    """A stored teacher, for the documents and the k whose `key` is asked for.

    Raises:
        HarnessError: the file was made for other documents or another k.
    """

    def __init__(self, path: Path, asked: str) -> None:
        if not path.exists():
            raise HarnessError(f"{path} does not exist; run src/teach.py first")
        with safe_open(path, "pt") as stored:
            if stored.metadata()["key"] != asked:
                raise HarnessError(
                    f"{path} was made with other conversations, another cut, mask or top_k than "
                    "this stage asks for; delete it and run again"
                )
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}
        self._ids, self._top, self._tail = (tensors[n] for n in ("ids", "log_probs", "tail"))
        ends = tensors["counts"].cumsum(0).tolist()
        begins = [0, *ends[:-1]]
        numbers = tensors["documents"].tolist()
        self._rows = dict(zip(numbers, map(slice, begins, ends), strict=True))

    def buckets(self, indices: Sequence[int], temperature: float) -> tuple[Tensor, Tensor]:
        """The teacher over k + 1 buckets at a temperature.

        Args:
            indices: record numbers of the documents, in the order of the batch.
            temperature: at least 1.

        Returns:
            ids [tokens, k] and log-probabilities [tokens, k + 1], the tail last.
        """
        rows = [self._rows[i] for i in indices]
        ids = torch.cat([self._ids[r].long() for r in rows])
        top = torch.cat([self._top[r].float() for r in rows]) / temperature
        tail = torch.cat([at_beta(self._tail[r], 1 / temperature) for r in rows])
        return ids, torch.cat([top, tail[:, None]], -1).log_softmax(-1)
