"""Snapshots of a training run: what a killed stage resumes from.

They lie in `work/`, undeclared, because Snakemake deletes the declared outputs of a failed
job. A snapshot carries the digest of everything that decides the run; one of another run is
passed over. safetensors, not pickle.
"""

import json
import time
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import AdamW
from transformers import PreTrainedModel

from compression_order import files
from compression_order.runtime import log

_MOMENTS = ("exp_avg", "exp_avg_sq")


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

    def restore(self, model: PreTrainedModel, optimizer: AdamW) -> tuple[list[float], int]:
        """Load the snapshot, if there is one of this run: (loss of each done step, tokens)."""
        state = self._read()
        if state is None:
            return [], 0
        metadata, tensors = state
        history = [float(x) for x in json.loads(metadata["history"])]
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(tensors[name])
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(len(history))),
                    **{m: tensors[f"{name}.{m}"] for m in _MOMENTS},
                }
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
        self, model: PreTrainedModel, optimizer: AdamW, history: list[float], tokens: int
    ) -> None:
        """Write a snapshot if the last one is old enough."""
        if time.monotonic() - self._last < self.seconds:
            return
        tensors = {}
        for name, parameter in model.named_parameters():
            tensors[name] = parameter.detach()
            for moment in _MOMENTS:
                tensors[f"{name}.{moment}"] = optimizer.state[parameter][moment]
        metadata = {"key": self.key, "history": json.dumps(history), "tokens": str(tokens)}
        with files.replacing(self.path) as aside:
            save_file(tensors, aside, metadata)
        self._last = time.monotonic()

    def forget(self) -> None:
        """Delete the snapshot: its stage is finished."""
        self.path.unlink(missing_ok=True)
        if self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()
