"""Snapshots of a training run: what a killed stage resumes from.

They lie in `work/`, undeclared, because Snakemake deletes the declared outputs of a failed
job. A snapshot carries the digest of everything that decides the run; one of another run is
passed over. safetensors, not pickle. Tensors are stored whole, so that a run on one number of
devices resumes on another.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from transformers import PreTrainedModel

from compression_order.common import files
from compression_order.common.process import log
from compression_order.training import distributed

# between a parameter's name and the name of a part of its optimizer's state
_STATE = ":"


class Snapshots:
    """The latest snapshot of one training run.

    Args:
        path: the file.
        key: digest of parent, settings, data, seed and code; only an equal key is resumed.
        seconds: the least time between two snapshots.
    """

    def __init__(self, path: Path, key: str, seconds: float) -> None:
        self.path, self.key, self.seconds = path, key, seconds
        self._last = time.monotonic()

    def restore(self, model: PreTrainedModel, optimizer: Optimizer) -> tuple[list[float], int]:
        """Load the snapshot, if there is one of this run: (loss of each done step, tokens)."""
        state = self._read()
        if state is None:
            return [], 0
        metadata, tensors = state
        history = [float(x) for x in json.loads(metadata["history"])]
        with torch.no_grad():
            for name, parameter in _trained(model):
                parameter.copy_(distributed.sharded_like(tensors[name], parameter))
                optimizer.state[parameter] = _state(optimizer, name, parameter, metadata, tensors)
        log.info("resumed from %s at step %d", self.path, len(history))
        return history, int(metadata["tokens"])

    def _read(self) -> tuple[dict[str, str], dict[str, Tensor]] | None:
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as stored:
                metadata = stored.metadata()
                if metadata.get("key") != self.key:
                    log.info("%s belongs to a run with other settings; starting anew", self.path)
                    return None
                return metadata, {name: stored.get_tensor(name) for name in stored.keys()}
        except SafetensorError:
            log.info("%s is damaged; starting anew", self.path)
            return None

    def keep(
        self, model: PreTrainedModel, optimizer: Optimizer, history: list[float], tokens: int
    ) -> None:
        """Write a snapshot if the last one is old enough; the first of several processes writes."""
        if not distributed.is_due(self._last, self.seconds, model.device):
            return
        tensors = _whole(model, optimizer)
        if not distributed.rank():
            metadata = {"key": self.key, "history": json.dumps(history), "tokens": str(tokens)}
            with files.replacing(self.path) as aside:
                save_file(tensors, aside, metadata)
        self._last = time.monotonic()

    def forget(self) -> None:
        """Delete the snapshot: its stage is finished."""
        self.path.unlink(missing_ok=True)
        if self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()


def _trained(model: PreTrainedModel) -> Iterator[tuple[str, nn.Parameter]]:
    return (pair for pair in model.named_parameters() if pair[1].requires_grad)


def _whole(model: PreTrainedModel, optimizer: Optimizer) -> dict[str, Tensor]:
    """Weights and moments, gathered; of several processes only the first keeps them."""
    tensors = {}
    for name, parameter in _trained(model):
        named = {name: parameter.detach()}
        for key, value in optimizer.state[parameter].items():
            if key != "step":  # the number of losses says it
                named[f"{name}{_STATE}{key}"] = value
        for key, value in named.items():
            full = distributed.whole(value)
            if full is not value:  # gathered: off the device at once
                full = full.cpu()
            elif key != name:
                full = full.clone()  # bitsandbytes shares its maps
            if not distributed.rank():
                tensors[key] = full
    return tensors


def _state(
    optimizer: Optimizer,
    name: str,
    parameter: Tensor,
    metadata: dict[str, str],
    tensors: dict[str, Tensor],
) -> dict[str, Any]:
    """A parameter's state in the optimizer: its moments, however that optimizer keeps them."""
    done = len(json.loads(metadata["history"]))
    kept = {
        stored.removeprefix(f"{name}{_STATE}"): distributed.sharded_like(tensor, parameter)
        for stored, tensor in tensors.items()
        if stored.startswith(f"{name}{_STATE}")
    }
    # torch counts steps in a tensor, bitsandbytes in a number
    step = torch.tensor(float(done)) if isinstance(optimizer, AdamW) else done
    return {"step": step, **kept}
