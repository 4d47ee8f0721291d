"""Make the base checkpoint: the uncompressed model, with a manifest like every other.

    python src/base.py --model assets/models/smollm2-135m-instruct \\
        --out results/smollm2-135m/seed0/checkpoints/base
"""

import argparse
import shutil
import sys
from pathlib import Path

import torch

from compression_order import assets, claims, errors, files, parents, runtime, settings


def parse_args() -> argparse.Namespace:
    """The command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = settings.Parser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the prepared model")
    parser.add_argument("--out", type=Path, required=True, help="folder of the base checkpoint")
    parser.add_argument("--seed", type=int, default=0, help="replicate (default: 0)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--costs", type=Path, default=Path("work/costs"), help="folder for times")
    return parser.parse_args(sys.argv[1:])


def main() -> None:
    """Verify the prepared model, copy it, describe it."""
    args = parse_args()
    runtime.start(args.threads)
    costs = runtime.Costs("base", args.threads)
    recorded = assets.verified(args.model)
    model = parents.dense(args.model, torch.bfloat16, quantized=False)
    costs.loaded()
    with files.replacing(args.out) as aside:
        aside.mkdir()
        for name in recorded:
            # copied, not linked: Snakemake sets the times of outputs, and a link's are its input's
            shutil.copyfile(args.model / name, aside / name)
        manifest = {
            "pipeline": "base",
            "stage": "base",
            "method": "base",
            "settings": {},
            "quantization": None,
            "seed": args.seed,
            "parent": files.sha256(args.model / assets.RECORD),
            "format": "dense",
            "parameters": {**claims.count(model), "trainable": 0},
            "bytes": claims.prove_size(aside, "base", None),
            "architecture": claims.describe(model),
            "claims": {},
            "files": recorded,
        }
        files.write_json(aside / parents.MANIFEST, manifest)
    costs.write(args.costs)


if __name__ == "__main__":
    errors.run(main)
