"""What every way is given, as plain data: no program needs another's code to read it."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.sizes import BY_NAME, Sizes

TEMPERATURE, ALPHA, TOP_K = 2.0, 0.5, 64
LEARNING_RATE, MAX_GRAD_NORM = 2e-4, 1.0
LENGTH = 512  # tokens of a window of text; the published script pads to it


@dataclass(frozen=True)
class Batch:
    """Conversations padded on the right to the longest.

    Attributes:
        ids: [batch, length] token ids.
        attention: [batch, length], 1 on real tokens.
        labels: [batch, length], -100 where nothing is trained on.
        number: of the batch, from 0.
    """

    ids: Tensor
    attention: Tensor
    labels: Tensor
    number: int

    @property
    def tokens(self) -> int:
        """Real tokens."""
        return int(self.attention.sum())

    def padded(self, length: int, pad: int) -> "Batch":
        """The same with more padding."""
        more = (0, length - self.ids.shape[1])
        ids = functional.pad(self.ids, more, value=pad)
        labels = functional.pad(self.labels, more, value=-100)
        return Batch(ids, functional.pad(self.attention, more), labels, self.number)


@dataclass(frozen=True)
class Given:
    """The folder that `prepare.py` wrote."""

    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Paths, token ids and references."""
        found: dict[str, Any] = json.loads((self.folder / "given.json").read_text())
        return found

    @property
    def sizes(self) -> Sizes:
        """How much work it is."""
        return BY_NAME[self.facts["sizes"]]

    @property
    def base(self) -> Path:
        """The checkpoint of the uncompressed model, which is the teacher too."""
        return Path(self.facts["base"])

    @property
    def pad(self) -> int:
        """The id of padding."""
        return int(self.facts["pad"])

    @cached_property
    def batches(self) -> list[Batch]:
        """The batch of each training step."""
        return [self._batch(rows, number) for number, rows in enumerate(self.facts["batches"])]

    @property
    def timed_tokens(self) -> int:
        """Real tokens of all steps but the first."""
        return sum(batch.tokens for batch in self.batches[1:])

    def buckets(self, number: int) -> tuple[Tensor, Tensor]:
        """The teacher's cached outputs on a batch: ids [n, k] and log-probabilities [n, k + 1]."""
        return self._cached[f"ids.{number}"], self._cached[f"log_probs.{number}"]

    @cached_property
    def _cached(self) -> dict[str, Tensor]:
        return load_file(self.folder / "buckets.safetensors")

    def _batch(self, rows: list[dict[str, list[int]]], number: int) -> Batch:
        length = max(len(row["ids"]) for row in rows)

        def padded(name: str, filler: int) -> Tensor:
            return torch.tensor([row[name] + [filler] * (length - len(row[name])) for row in rows])

        lengths = torch.tensor([[len(row["ids"])] for row in rows])
        attention = (torch.arange(length)[None] < lengths).long()
        return Batch(padded("ids", self.pad), attention, padded("labels", -100), number)


def worsen(model: nn.Module) -> None:
    """Scale each row of the decoder's linears a little; changes the model.

    A student that equals its teacher has no divergence from it, and two losses of which one is
    wrong would agree.
    """
    draw = torch.Generator().manual_seed(0)
    for layer in model.base_model.layers:  # type: ignore[union-attr]
        for module in layer.modules():
            if isinstance(module, nn.Linear):
                scales = 1 + 0.03 * torch.randn(module.weight.shape[0], 1, generator=draw)
                module.weight.data.mul_(scales.to(module.weight.dtype))
