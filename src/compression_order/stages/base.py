"""The base checkpoint: the uncompressed model, with a manifest like every other."""

import shutil
from pathlib import Path

import torch

from compression_order.assets import archives
from compression_order.checkpoint import models, proof
from compression_order.checkpoint.stored import MANIFEST, Checkpoint
from compression_order.common import files, process
from compression_order.costs import meter


def write(source: Path, seed: int, threads: int, out: Path, costs_folder: Path) -> None:
    """Verify a prepared model, copy it, describe it.

    Args:
        source: folder of the prepared model.
        seed: replicate.
        threads: that torch may use.
        out: folder of the checkpoint.
        costs_folder: where the costs are written.

    Raises:
        HarnessError: the prepared model is damaged.
    """
    process.start(threads)
    costs = meter.Costs("base", threads)
    recorded = archives.verified(source)
    model = Checkpoint(source).model(torch.bfloat16)
    costs.loaded()
    with files.replacing(out) as aside:
        aside.mkdir()
        for name in recorded:
            # copy, do not link: Snakemake sets the times of outputs, and a link shares its input's
            shutil.copyfile(source / name, aside / name)
        manifest = {
            "pipeline": "base",
            "stage": "base",
            "method": "base",
            "settings": {},
            "quantization": None,
            "seed": seed,
            "parent": files.sha256(source / archives.RECORD),
            "format": "dense",
            "parameters": {**proof.count(model), "trainable": 0},
            "bytes": proof.prove_size(Checkpoint(aside), "base"),
            "architecture": models.architecture(model).described(),
            "claims": {},
            "files": recorded,
        }
        files.write_json(aside / MANIFEST, manifest)
    costs.write(costs_folder)
