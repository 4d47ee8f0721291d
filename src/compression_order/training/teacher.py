"""The teacher's outputs on the training text, computed once for the distillations that share them.

For each token that is trained on: the teacher's last hidden states; once: its output embedding.
From both a loss makes the teacher's logits again, a chunk at a time (`losses.full_kl`): the exact
divergence, at any temperature, for a number a hidden channel instead of one an id of the
vocabulary. Hidden states are kept as they are multiplied (bf16 or float32), the embedding in bf16.
`top_k` keeps less, and not exactly: see `buckets`.

A teacher may have more rows of vocabulary than the student, or fewer: Qwen2.5 pads 151,936 rows
to 152,064 in its larger models. Both are cut to the rows they share, once the tokenizers are
seen to agree below.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compression_order.common import arithmetic, files
from compression_order.common.errors import HarnessError
from compression_order.common.process import Progress
from compression_order.text import chat
from compression_order.training import buckets, forward, losses


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


def write(
    path: Path,
    model: PreTrainedModel,
    documents: Sequence[chat.Encoded],
    k: int,
    vocabulary: int,
    label: str,
    beside: Mapping[str, Tensor] | None = None,
) -> None:
    """Run the teacher over the documents and store its outputs.

    Args:
        path: the safetensors file.
        model: the teacher.
        documents: the training split, in the order of the file.
        k: ids kept a token; 0: the hidden states, for the exact divergence.
        vocabulary: rows that teacher and student share; see `shared_vocabulary`.
        label: the job's name on its progress lines.
        beside: other tensors to store, such as `buckets.measured`.

    Raises:
        HarnessError: `k` leaves no id for the tail.
    """
    buckets.require_tail(k, vocabulary)
    head = model.get_output_embeddings().weight[:vocabulary].detach()
    keep = _likeliest(head, k) if k else _exact
    progress = Progress(label, "document", len(documents))
    counts = torch.tensor([len(document.loss_positions()) for document in documents])
    ends = counts.cumsum(0).tolist()
    begins = [0, *ends[:-1]]
    tensors: dict[str, Tensor] = {}
    done = 0
    for batch in forward.trained_states(model, documents):
        sizes = [len(its) for its in batch.values()]
        for name, whole in keep(torch.cat(list(batch.values()))).items():
            if name not in tensors:
                tensors[name] = whole.new_empty((ends[-1], *whole.shape[1:]), device="cpu")
            for place, rows in zip(batch, whole.split(sizes), strict=True):
                tensors[name][begins[place] : ends[place]] = rows
        done += len(batch)
        progress.update(done)
    tensors |= {
        **({} if k else {"head": head.to(torch.bfloat16).cpu().clone()}),
        "counts": counts,
        "documents": torch.tensor([document.index for document in documents]),
        # Metadata of more than one entry is written in random order.
        "vocabulary": torch.tensor(vocabulary),
        **(beside or {}),
    }
    with files.replacing(path) as aside:
        save_file(tensors, aside, {"key": key(documents, k)})


def _exact(counted: Tensor) -> dict[str, Tensor]:
    # as they are multiplied: rounding them further would be a divergence of its own
    return {"hidden": counted.to(arithmetic.dtype())}


def _likeliest(head: Tensor, k: int) -> Callable[[Tensor], dict[str, Tensor]]:
    narrow = torch.uint16 if len(head) <= 2**16 else torch.int32

    def keep(counted: Tensor) -> dict[str, Tensor]:
        parts = []
        for rows in forward.chunks(len(counted)):
            with torch.no_grad():
                ids, top, tail = buckets.outputs(counted[rows] @ head.T, k)
            parts.append((ids, top, tail))
        # narrowed once joined: autocast does not join float16
        ids, top, tail = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return {"ids": ids.to(narrow), "log_probs": top.to(torch.float16), "tail": tail}

    return keep


class Cache:
    """A stored teacher, for the documents and the k whose `key` is asked for.

    The file stays mapped: what of it is not read takes no memory.

    Attributes:
        vocabulary: number of ids that its distribution is over.

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
            self._tensors = {name: stored.get_tensor(name) for name in stored.keys()}
        self.vocabulary = int(self._tensors["vocabulary"])
        self._head: Tensor | None = None
        ends = self._tensors["counts"].cumsum(0).tolist()
        begins = [0, *ends[:-1]]
        numbers = self._tensors["documents"].tolist()
        self._rows = dict(zip(numbers, map(slice, begins, ends), strict=True))

    def divergence(self, indices: Sequence[int], temperature: float, hidden: Tensor) -> losses.Loss:
        """KL(teacher || student) of each token of a batch: exact, or over the buckets of a top-k.

        Args:
            indices: record numbers of the documents, in the order of the batch.
            temperature: at least 1.
            hidden: the student's; the teacher's are multiplied where and as they are.
        """
        if "ids" in self._tensors:
            return losses.bucket_kl(*self.buckets(indices, temperature, hidden.device), temperature)
        dtype = losses.product_dtype(hidden)
        if self._head is None:
            self._head = self._tensors["head"].to(hidden.device, dtype)
        states = self._of("hidden", indices, dtype).to(hidden.device)
        return losses.full_kl(states, self._head, temperature)

    def buckets(
        self, indices: Sequence[int], temperature: float, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """The teacher over k + 1 buckets at a temperature, of a cache with a top-k.

        Args:
            indices: record numbers of the documents, in the order of the batch.
            temperature: at least 1.
            device: where the student computes.

        Returns:
            ids [tokens, k] and log-probabilities [tokens, k + 1], the tail last.
        """
        ids = self._of("ids", indices, torch.int64).to(device)
        top = self._of("log_probs", indices, torch.float32).to(device)
        tail = self._of("tail", indices, torch.float32).to(device)
        return ids, buckets.tempered(top, tail, temperature)

    def _of(self, name: str, indices: Sequence[int], dtype: torch.dtype) -> Tensor:
        # converted first: autocast does not join ids or float16
        return torch.cat([self._tensors[name][self._rows[i]].to(dtype) for i in indices])

    def losses_of_top_k(self, temperature: float) -> dict[str, float]:
        """What a top-k leaves out at a temperature; nothing of an exact cache.

        Returns:
            `tail_mass`, the mean mass of the ids that are one bucket; and `kl_kept`, the share of
            the exact divergence from the uncompressed student, where it was measured: not where
            that student is the teacher.
        """
        if "ids" not in self._tensors:
            return {}
        mass, count = 0.0, 0
        for index in self._rows:
            log_probs = self.buckets([index], temperature, torch.device("cpu"))[1]
            mass += float(log_probs[:, -1].double().exp().sum())
            count += len(log_probs)
        found = {"tail_mass": mass / count}
        if "kl_kept" in self._tensors:
            names = ("temperatures", "kl_kept")
            shares = dict(zip(*(self._tensors[name].tolist() for name in names), strict=True))
            found |= {"kl_kept": shares[temperature]} if temperature in shares else {}
        return found
