"""The teacher's outputs on the training text, computed once for every distillation of a study.

For each token that is trained on: the k likeliest ids with their log-probabilities, and the
log-mass of all the other ids. About 300 bytes a token instead of two bytes an id of the
vocabulary.

The cache serves every temperature T >= 1. Tempering needs the tail's sum of p_i^beta with
beta = 1 / T; its logarithm is a smooth convex function of beta on [0, 1] (a cumulant
generating function), so that its values at 8 Chebyshev nodes fix it: on SmolLM2's logits to
2e-3 nats of the tail's log-mass at worst, 2e-7 nats of the divergence
(tests/training/test_teacher.py).

A teacher may have more rows of vocabulary than the student, or fewer: Qwen2.5 pads 151,936 rows
to 152,064 in its larger models. Both are cut to the rows they share, once the tokenizers are
seen to agree below.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.interpolate import BarycentricInterpolator
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compression_order.common import files
from compression_order.common.errors import HarnessError
from compression_order.common.process import Progress
from compression_order.text import chat
from compression_order.training import forward

NODES = 8


def key(documents: Sequence[chat.Encoded], k: int) -> str:
    """Digest of everything that decides which tokens a cache holds, and how much of each."""
    return files.digest([[[d.index, d.ids, d.labels, d.padding] for d in documents], k])


def shared_vocabulary(
    student: PreTrainedTokenizerBase,
    teacher: PreTrainedTokenizerBase,
    student_rows: int,
    teacher_rows: int,
) -> int:
    """The rows of vocabulary that two models share: those of the shorter embedding.

    Raises:
        HarnessError: the tokenizers give one id to different tokens, or know different tokens.
    """
    shared = min(student_rows, teacher_rows)
    ours, theirs = (
        {i: token for token, i in tokenizer.get_vocab().items() if i < shared}
        for tokenizer in (student, teacher)
    )
    different = sorted(i for i in ours.keys() | theirs.keys() if ours.get(i) != theirs.get(i))
    if different:
        first = different[0]
        raise HarnessError(
            f"teacher: its tokenizer is not the model's: {len(different)} of {shared} ids differ, "
            f"the first is {first} ({ours.get(first)!r} and {theirs.get(first)!r}); choose a "
            "teacher of the same tokenizer"
        )
    return shared


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


def _support(rest: Tensor) -> Tensor:
    # 0 * -inf is not a number: at beta = 0 every id of the tail counts as 1
    return torch.where(rest.isinf(), rest, torch.zeros_like(rest))


def write(
    path: Path,
    model: PreTrainedModel,
    documents: Sequence[chat.Encoded],
    k: int,
    vocabulary: int,
    label: str,
) -> None:
    """Run the teacher over the documents and store its outputs.

    Args:
        path: the safetensors file.
        model: the teacher.
        documents: the training split, in the order of the file.
        k: ids kept a token.
        vocabulary: rows that teacher and student share; see `shared_vocabulary`.
        label: the job's name on its progress lines.

    Raises:
        HarnessError: `k` leaves no id for the tail.
    """
    if k >= vocabulary:
        raise HarnessError(
            f"top_k {k} leaves nothing of the vocabulary of {vocabulary} ids for the tail; "
            "lower top_k"
        )
    head = model.get_output_embeddings().weight[:vocabulary]
    narrow = torch.uint16 if vocabulary <= 2**16 else torch.int32
    found: dict[int, tuple[Tensor, ...]] = {}
    progress = Progress(label, "document", len(documents))
    ids_of = [document.ids for document in documents]
    attended = [len(document.ids) - document.padding for document in documents]
    counts = [len(document.loss_positions()) for document in documents]
    for batch in forward.states(model, ids_of, attended):
        counted = torch.cat(
            [its[documents[place].loss_positions()] for place, its in batch.items()]
        )
        parts = []
        for rows in forward.chunks(len(counted)):
            with torch.no_grad():
                ids, top, tail = outputs(counted[rows] @ head.T, k)
            parts.append((ids.to(narrow).cpu(), top.to(torch.float16).cpu(), tail.cpu()))
        whole = [torch.cat(tensors) for tensors in zip(*parts, strict=True)]
        split = [tensor.split([counts[place] for place in batch]) for tensor in whole]
        found |= dict(zip(batch, zip(*split, strict=True), strict=True))
        progress.update(len(found))
    ordered = [found[place] for place in range(len(documents))]
    ids, top, tail = (torch.cat(tensors) for tensors in zip(*ordered, strict=True))
    tensors = {
        "ids": ids,
        "log_probs": top,
        "tail": tail,
        "counts": torch.tensor(counts),
        "documents": torch.tensor([document.index for document in documents]),
        # Metadata of more than one entry is written in random order.
        "vocabulary": torch.tensor(vocabulary),
    }
    with files.replacing(path) as aside:
        save_file(tensors, aside, {"key": key(documents, k)})


class Cache:
    """A stored teacher, for the documents and the k whose `key` is asked for.

    `vocabulary` is the number of ids that its distribution is over.

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
        self.vocabulary = int(tensors["vocabulary"])
        self._ids, self._top, self._tail = (tensors[n] for n in ("ids", "log_probs", "tail"))
        ends = tensors["counts"].cumsum(0).tolist()
        begins = [0, *ends[:-1]]
        numbers = tensors["documents"].tolist()
        self._rows = dict(zip(numbers, map(slice, begins, ends), strict=True))

    def buckets(
        self, indices: Sequence[int], temperature: float, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """The teacher over k + 1 buckets at a temperature.

        Args:
            indices: record numbers of the documents, in the order of the batch.
            temperature: at least 1.
            device: where the student computes.

        Returns:
            ids [tokens, k] and log-probabilities [tokens, k + 1], the tail last.
        """
        rows = [self._rows[i] for i in indices]
        ids = torch.cat([self._ids[r].long() for r in rows]).to(device)
        top = torch.cat([self._top[r].float() for r in rows]).to(device) / temperature
        tail = torch.cat([at_beta(self._tail[r], 1 / temperature) for r in rows]).to(device)
        return ids, torch.cat([top, tail[:, None]], -1).log_softmax(-1)
