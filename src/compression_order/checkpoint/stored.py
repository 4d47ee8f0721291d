"""A checkpoint as stored, opened once: whatever is asked of it is read from the disk one time.

from compression_order.checkpoint.stored import Checkpoint
checkpoint = Checkpoint.open(Path("results/study/seed0/checkpoints/P-Q"))
model = checkpoint.model(torch.bfloat16)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compression_order.checkpoint import adapters, forms, masks, models
from compression_order.checkpoint.forms import Form
from compression_order.common import files
from compression_order.common.errors import HarnessError

MANIFEST, CONFIG, WEIGHTS = "checkpoint.json", "config.json", "model.safetensors"
WITH_ADAPTER = "+lora"  # a format's ending where an adapter lies beside the weights
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a model, its tokenizer and, once its stage has proved it, its manifest."""

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> "Checkpoint":
        """A checkpoint whose files are what its manifest says.

        Raises:
            HarnessError: the manifest or a file is missing, or a digest differs.
        """
        opened = cls(folder)
        for name, expected in opened.manifest["files"].items():
            path = folder / name
            if not path.exists():
                raise HarnessError(
                    f"{path} is missing though {MANIFEST} lists it; {_remedy(folder)}"
                )
            if files.sha256(path) != expected:
                raise HarnessError(
                    f"{path} is not the file that {MANIFEST} describes (its sha256 differs: "
                    f"truncated or changed, {path.stat().st_size} bytes); {_remedy(folder)}"
                )
        return opened

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Its `checkpoint.json`."""
        found: dict[str, Any] = files.read_json(self.folder / MANIFEST)
        return found

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its `checkpoint.json`."""
        return files.sha256(self.folder / MANIFEST)

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """Its `config.json`."""
        found: dict[str, Any] = files.read_json(self.folder / CONFIG)
        return found

    @cached_property
    def form(self) -> Form | None:
        """How its weights are quantized, None where they are dense."""
        return forms.of(self.fields, self.folder)

    @cached_property
    def config(self) -> Any:
        """The configuration of its model with dense weights."""
        config = models.config_of(self.folder, self.fields)
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        return config

    @property
    def is_plain(self) -> bool:
        """Whether plain transformers loads it."""
        return models.is_plain(self.fields)

    @property
    def weights(self) -> Path:
        """The file of its weights."""
        return self.folder / WEIGHTS

    @property
    def has_adapter(self) -> bool:
        """Whether an adapter lies beside the weights."""
        return adapters.is_stored(self.folder)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer stored beside it."""
        return models.tokenizer(self.folder, self.fields)

    def model(self, dtype: torch.dtype, device: torch.device = CPU) -> PreTrainedModel:
        """Its model with dense weights, in evaluation mode, on a device.

        A quantized checkpoint gives the bf16 weights that its kernels compute with; what their own
        rounding adds is measured in tests/stages/test_real_model.py. An adapter beside them is put
        on, unmerged; zeros that a pruning made are marked.
        """
        if self.form is None:
            model = models.pretrained(self.folder, self.fields, dtype=dtype)
        else:
            model = models.from_state(self.config, self.form.state(self.weights), dtype)
            if self.has_adapter:
                adapters.attach(model, self.folder)
        evaluating: PreTrainedModel = model.to(device).eval()
        masks.attach(evaluating, self.folder)
        return evaluating

    def served(self, device: torch.device | None = None) -> PreTrainedModel:
        """Its model as a user loads it: quantized weights keep their own kernels."""
        options = {} if device is None else {"device_map": {"": device}}
        model = models.pretrained(self.folder, self.fields, **options)
        if self.form:
            self.form.prepare(model)
        return model.eval()


def _remedy(folder: Path) -> str:
    return f"delete the folder {folder} and run again"
