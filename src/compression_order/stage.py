"""What every stage does the same way: its flags, its parent, its proof and its checkpoint."""

import argparse
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from transformers import PreTrainedModel

from compression_order import (
    adapters,
    chat,
    claims,
    distributed,
    files,
    masks,
    methods,
    parents,
    processes,
    runtime,
    schema,
    settings,
    training,
)
from compression_order.forms import Form
from compression_order.snapshots import Snapshots

_LIBRARIES = ("torch", "transformers", "bitsandbytes", "safetensors", "tokenizers")
# what an adapter lies beside
_WEIGHTS = ("config.json", "generation_config.json", parents.WEIGHTS)
_SOURCES = Path(__file__).parent


@dataclass
class Job:
    """One stage at work.

    Attributes:
        args: the flags that every stage has; see `parse`.
        method: the method's module.
        settings: the method's settings.
        parent: what the stage works on.
        costs: the clock.
        snapshots: where its training resumes from.
    """

    args: argparse.Namespace
    method: ModuleType
    settings: Any
    parent: parents.Parent
    costs: runtime.Costs
    snapshots: Snapshots

    def documents(
        self, split: str, seq_len: int | None = None, count_padding: bool = False
    ) -> list[chat.Encoded]:
        """The conversations of one split, encoded."""
        numbered = chat.records(self.args.text, self.args.splits, split)
        return chat.encode(self.parent.tokenizer, numbered, seq_len, count_padding=count_padding)

    def calibration(self) -> list[chat.Encoded]:
        """The calibration split, as the method's settings cut it; none where it reads no text."""
        if not hasattr(self.settings, "seq_len"):
            return []
        padding = getattr(self.settings, "count_padding", False)
        return self.documents("calibration", self.settings.seq_len, padding)

    def training_documents(self, how: training.Training) -> list[chat.Encoded]:
        """The conversations to train on, encoded as the settings say."""
        return training.documents(self.parent.tokenizer, self.args.text, self.args.splits, how)

    def train(
        self,
        model: PreTrainedModel,
        documents: list[chat.Encoded],
        objective: training.Objective,
        how: training.Training,
        seen: training.Seen | None = None,
    ) -> dict[str, Any]:
        """Train `model` in place; the record for the manifest.

        Of several processes only the first returns: it proves and stores, the others end.
        """
        label = f"{self.args.pipeline} seed {self.args.seed}"
        done = training.train(
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
        """Store the result, prove it, and only then let it appear.

        Args:
            model: dense weights; or with an adapter, which is stored beside the parent's own files.
            expected: what the stage claims; see `claims.prove`.
            form: how to store it quantized, or None for bf16.
            trainable: parameters that the stage trained.
        """
        with files.replacing(self.args.out) as aside:
            stored = _store(model.to(torch.bfloat16), self.parent, self.args.parent, aside, form)
            name = self.args.pipeline
            before = claims.Before(self.parent.manifest["architecture"], masks.of(model))
            wanted = {**expected, **stored}
            proved = claims.prove(aside, name, form, wanted, before, self._probe())
            masks.write(before.masks, aside)
            proved["parameters"]["trainable"] = trainable
            manifest = self._manifest(proved, form)
            manifest["files"] = {p.name: files.sha256(p) for p in sorted(aside.iterdir())}
            files.write_json(aside / parents.MANIFEST, manifest)
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
            "parent": self.parent.digest,
            "parent_drift": self.parent.drift,
            "versions": {name: version(name) for name in self._libraries()},
        }

    def _used(self) -> dict[str, Any]:
        args = self.args
        return settings.used(asdict(self.settings), args.method, args.on_quantized)

    def _libraries(self) -> tuple[str, ...]:
        return (*_LIBRARIES, *getattr(self.method, "LIBRARIES", ()))

    def _probe(self) -> claims.Probe:
        tokenizer = self.parent.tokenizer
        records = chat.records(self.args.text, self.args.splits, "calibration")
        prompts = [
            chat.template_ids(tokenizer, r["messages"][:1], prompt=True)[-64:]
            for _, r in records[:4]
        ]
        length = max(map(len, prompts))
        pad = tokenizer.pad_token_id
        return claims.Probe(
            prompts=torch.tensor([[pad] * (length - len(p)) + p for p in prompts]),
            attention=torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts]),
            new_tokens=16,
            max_degenerate=self.args.max_degenerate,
            pad=pad,
            device=self.parent.model.device,
        )

    def _tell(self, proved: Mapping[str, Any]) -> None:
        runtime.log.info(
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
    """Write model and tokenizer; what the manifest's claims record of the form."""
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
    parent.tokenizer.save_pretrained(folder)
    return stored


def parse(kind: str, doc: str, argv: list[str]) -> tuple[argparse.Namespace, ModuleType, Any]:
    """The flags of a stage: those of every stage, then those of its method's settings.

    Raises:
        HarnessError: a flag is unknown, missing or out of its range.
    """
    choices = methods.of_kind(kind)
    method = methods.load(settings.method_of(argv, choices[0]), kind)
    name = settings.method_of(argv, choices[0])
    formatter = argparse.RawDescriptionHelpFormatter
    parser = settings.Parser(description=doc, formatter_class=formatter)
    parser.add_argument("--parent", type=Path, required=True, help="folder of the parent")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new checkpoint")
    parser.add_argument("--pipeline", required=True, help="name of the new checkpoint, as P-KD")
    parser.add_argument("--text", type=Path, required=True, help="chat text, JSON lines")
    parser.add_argument("--splits", type=Path, required=True, help="record numbers of the splits")
    parser.add_argument(
        "--method", choices=choices, default=choices[0], help="(default: %(default)s)"
    )
    add_common(parser, name)
    if kind == "distill":
        parser.add_argument("--teacher", type=Path, required=True, help="the teacher's cache")
    settings.add_flags(parser, method.Settings, name)
    args = parser.parse_args(argv)
    return args, method, settings.read(method.Settings, name, vars(args))


def add_common(parser: argparse.ArgumentParser, method: str) -> None:
    """Flags that are not settings of a method."""
    parser.add_argument(
        "--on-quantized",
        choices=schema.method_schema(method)["properties"]["on_quantized"]["enum"],
        default="requantize",
        help="what to do with a quantized parent (default: %(default)s)",
    )
    settings.add_device(parser)
    parser.add_argument("--seed", type=int, default=0, help="draws the batches (default: 0)")
    parser.add_argument(
        "--max-degenerate",
        type=float,
        default=0.5,
        help="largest share of degenerate greedy answers, 0 to 1 (default: 0.5)",
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads of all processes (default: 1)"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("work"), help="folder for snapshots (default: work)"
    )
    parser.add_argument(
        "--costs", type=Path, default=Path("work/costs"), help="folder for the times taken"
    )
    parser.add_argument(
        "--snapshot-seconds",
        type=float,
        default=60,
        help="least time between two snapshots, s (default: 60)",
    )


def begin(kind: str, doc: str, dtype: torch.dtype = torch.float32) -> Job:
    """Parse the command line, load the parent, and be ready to work."""
    args, method, its_settings = parse(kind, doc, sys.argv[1:])
    processes.require(asdict(its_settings), args.method, args.on_quantized)
    processes.require_launched(asdict(its_settings))
    threads = max(1, args.threads // processes.here())
    device = distributed.begin(runtime.start(threads, args.seed, args.device))
    costs = runtime.Costs(kind, args.threads)
    dtype = getattr(method, "DTYPE", dtype)
    parent = parents.load(args.parent, args.on_quantized, dtype, device)
    job = Job(args, method, its_settings, parent, costs, _snapshots(args, its_settings, parent))
    costs.loaded()
    return job


def _snapshots(args: argparse.Namespace, its_settings: Any, parent: parents.Parent) -> Snapshots:
    data = (args.text, args.splits, getattr(args, "teacher", None))
    key = files.digest(
        {
            "parent": parent.digest,
            "method": args.method,
            # a run on one number of devices resumes on another
            "settings": processes.without_devices(asdict(its_settings)),
            "on_quantized": args.on_quantized,
            "seed": args.seed,
            "data": [files.sha256(path) for path in data if path],
            "sources": [files.sha256(p) for p in sorted(_SOURCES.rglob("*.py"))],
        }
    )
    return Snapshots(args.work / "snapshot.safetensors", key, args.snapshot_seconds)
