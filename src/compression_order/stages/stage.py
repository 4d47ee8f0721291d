"""The parts that all stages share: flags, parent, proof and checkpoint."""

import argparse
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from transformers import PreTrainedModel

from compression_order import methods
from compression_order.checkpoint import adapters, masks, parents, proof
from compression_order.checkpoint.forms import Form
from compression_order.checkpoint.stored import MANIFEST, WEIGHTS
from compression_order.common import closure, files, process
from compression_order.costs import meter
from compression_order.text import chat
from compression_order.training import distributed, loop
from compression_order.training.settings import Training
from compression_order.training.snapshots import Snapshots

_LIBRARIES = ("torch", "transformers", "bitsandbytes", "safetensors", "tokenizers")
# files that stay beside an adapter
_WEIGHTS = ("config.json", "generation_config.json", WEIGHTS)
_DTYPES = {"quantize": torch.bfloat16}  # data type in which a kind of stage works, if not float32


@dataclass
class Job:
    """One stage at work.

    Attributes:
        args: the flags that every stage has; see `flags.parse`.
        method: the method's module.
        settings: the method's settings.
        parent: what the stage works on.
        costs: the clock.
        snapshots: where its training resumes from.
        read: what was read for -> record numbers of the chat text.
    """

    args: argparse.Namespace
    method: ModuleType
    settings: Any
    parent: parents.Parent
    costs: meter.Costs
    snapshots: Snapshots
    read: dict[str, list[int]] = field(default_factory=dict)

    def documents(
        self, split: str, seq_len: int | None = None, count_padding: bool = False
    ) -> list[chat.Encoded]:
        """The conversations of one split, encoded."""
        numbered = chat.records(self.args.text, self.args.splits, split)
        return chat.encode(
            self.parent.checkpoint.tokenizer, numbered, seq_len, count_padding=count_padding
        )

    def calibration(self) -> list[chat.Encoded]:
        """The calibration split, cut as the settings say; empty if the method reads no text."""
        if not hasattr(self.settings, "seq_len"):
            return []
        padding = getattr(self.settings, "count_padding", False)
        found = self.documents("calibration", self.settings.seq_len, padding)
        self.read["calibration"] = sorted(document.index for document in found)
        return found

    def training_documents(self, how: Training) -> list[chat.Encoded]:
        """The conversations to train on, encoded as the settings say."""
        found = loop.documents(
            self.parent.checkpoint.tokenizer, self.args.text, self.args.splits, how
        )
        self.read["training"] = sorted(document.index for document in found)
        return found

    def train(
        self,
        model: PreTrainedModel,
        documents: list[chat.Encoded],
        objective: loop.Objective,
        how: Training,
        seen: loop.Seen | None = None,
    ) -> dict[str, Any]:
        """Train `model` in place; the record for the manifest.

        With several processes only the first returns, to prove and store; the others exit.
        """
        label = f"{self.args.pipeline} seed {self.args.seed}"
        done = loop.train(
            model, documents, objective, how, self.args.seed, self.snapshots, label, seen
        )
        distributed.leave()
        return done.claims()

    def finish(
        self,
        model: PreTrainedModel,
        expected: Mapping[str, Any],
        form: Form | None,
        trainable: int = 0,
    ) -> None:
        """Store the result, prove it, and only then move it into place.

        Args:
            model: dense weights; or with an adapter, which is stored beside the parent's own files.
            expected: what the stage claims; see `proof.prove`.
            form: how to store it quantized, or None for bf16.
            trainable: parameters that the stage trained.
        """
        with files.replacing(self.args.out) as aside:
            stored = _store(model.to(torch.bfloat16), self.parent, self.args.parent, aside, form)
            name = self.args.pipeline
            before = proof.Before(self.parent.checkpoint.manifest["architecture"], masks.of(model))
            wanted = {**expected, **stored}
            proved = proof.prove(aside, name, form, wanted, before, self._probe())
            masks.write(before.masks, aside)
            proved["parameters"]["trainable"] = trainable
            manifest = self._manifest(proved, form)
            manifest["files"] = {p.name: files.sha256(p) for p in sorted(aside.iterdir())}
            files.write_json(aside / MANIFEST, manifest)
        self.snapshots.forget()
        self.costs.write(self.args.costs)
        self._tell(proved)

    def _manifest(self, proved: Mapping[str, Any], form: Form | None) -> dict[str, Any]:
        return {
            **proved,
            "pipeline": self.args.pipeline,
            "stage": self.args.pipeline.rsplit("-", 1)[-1],
            "method": self.args.method,
            "settings": {**self._used(), "on_quantized": self.args.on_quantized},
            "quantization": form.record() if form else None,
            "seed": self.args.seed,
            "compute": self.args.compute,
            "parent": self.parent.checkpoint.digest,
            "parent_drift": self.parent.drift,
            "read": {"sha256": files.sha256(self.args.text), **self.read} if self.read else {},
            "versions": {name: version(name) for name in self._libraries()},
        }

    def _used(self) -> dict[str, Any]:
        used: dict[str, Any] = self.settings.used(self.args.on_quantized)
        return used

    def _libraries(self) -> tuple[str, ...]:
        return (*_LIBRARIES, *getattr(self.method, "LIBRARIES", ()))

    def _probe(self) -> proof.Probe:
        tokenizer = self.parent.checkpoint.tokenizer
        records = chat.records(self.args.text, self.args.splits, "calibration")
        prompts = [
            chat.template_ids(tokenizer, r["messages"][:1], prompt=True)[-64:]
            for _, r in records[:4]
        ]
        length = max(map(len, prompts))
        pad = tokenizer.pad_token_id
        return proof.Probe(
            prompts=torch.tensor([[pad] * (length - len(p)) + p for p in prompts]),
            attention=torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts]),
            new_tokens=16,
            max_degenerate=self.args.max_degenerate,
            pad=pad,
            device=self.parent.model.device,
        )

    def _tell(self, proved: Mapping[str, Any]) -> None:
        process.log.info(
            "[%s seed %d] done: %s, %.1f M parameters, %.1f MiB, %s",
            self.args.pipeline,
            self.args.seed,
            proved["format"],
            proved["parameters"]["total"] / 1e6,
            proved["bytes"]["model"] / 2**20,
            self.args.out,
        )


def _store(
    model: PreTrainedModel, parent: parents.Parent, source: Path, folder: Path, form: Form | None
) -> dict[str, Any]:
    """Write model and tokenizer; return the manifest's entry on the stored form."""
    stored: dict[str, Any] = {}
    if adapters.parameters(model):
        folder.mkdir()
        for name in _WEIGHTS:
            if (source / name).exists():
                shutil.copyfile(source / name, folder / name)
        adapters.store(model, folder)
    elif form:
        stored = form.store(model, folder)
    else:
        model.save_pretrained(folder, max_shard_size="1TB")
    parent.checkpoint.tokenizer.save_pretrained(folder)
    return stored


def begin(args: argparse.Namespace, settings: Any) -> Job:
    """Load the parent and prepare the work.

    Args:
        args: the flags of every stage; see `flags.parse`.
        settings: those of the method.
    """
    settings.require_shareable(args.on_quantized)
    distributed.require_launched(settings.devices)
    threads = max(1, args.threads // distributed.processes())
    device = distributed.begin(process.start(threads, args.seed, args.device, args.compute))
    costs = meter.Costs(settings.kind, args.threads)
    method = methods.load(args.method)
    dtype = getattr(method, "DTYPE", _DTYPES.get(settings.kind, torch.float32))
    parent = parents.load(args.parent, args.on_quantized, dtype, device)
    job = Job(args, method, settings, parent, costs, _snapshots(args, settings, parent))
    costs.loaded()
    return job


def _snapshots(args: argparse.Namespace, settings: Any, parent: parents.Parent) -> Snapshots:
    data = (args.text, args.splits, getattr(args, "teacher_outputs", None))
    forms = [type(parent.form).__module__] if parent.form else []
    sources = closure.of(f"{settings.kind}.py", methods.run_module(args.method), *forms)
    key = files.digest(
        {
            "parent": parent.checkpoint.digest,
            "method": args.method,
            # a run on one number of devices resumes on another
            "settings": _without_devices(settings.model_dump()),
            "on_quantized": args.on_quantized,
            "compute": args.compute,
            "seed": args.seed,
            "data": [files.sha256(path) for path in data if path],
            "sources": [files.sha256(path) for path in sources],
        }
    )
    return Snapshots(args.work / "snapshot.safetensors", key, args.snapshot_seconds)


def _without_devices(settings: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in settings.items() if key != "devices"}
    return {k: _without_devices(v) if isinstance(v, Mapping) else v for k, v in kept.items()}
