"""Run a stage as its script does, and leave the loss of every step that a process saw.

    torchrun --standalone --nproc-per-node=2 tests/support/tell_losses.py \\
        FOLDER OPTIMIZER prune FLAGS

FOLDER gets `losses.<rank>.json`. OPTIMIZER is the stage's own (`own`), plain gradient descent
(`sgd`: AdamW hardly sees a gradient that is too large by a constant factor, descent does), or its
own on a model whose smallest weights are pruned one by one (`masked`).
"""

import json
import sys
from pathlib import Path
from typing import Any

from lab import ROOT  # its import lets the sources be found

from compression_order.checkpoint import masks
from compression_order.common import errors
from compression_order.training import distributed, loop
from compression_order.training.settings import Training


def main() -> None:
    folder, optimizer, script, *flags = sys.argv[1:]
    own = loop.train

    def telling(model: Any, *args: Any) -> loop.Trained:
        if optimizer == "masked":
            prune_half(model)
        done = own(model, *args)
        path = Path(folder) / f"losses.{distributed.rank()}.json"
        path.write_text(json.dumps(done.losses))
        return done

    loop.train = telling
    if optimizer == "sgd":
        loop.optimizer_of = descent
    sys.argv = [str(ROOT / "src" / f"{script}.py"), *flags]
    __import__(script).main()


def prune_half(model: Any) -> None:
    for layer in model.base_model.layers:
        for weight in (layer.mlp.up_proj.weight, layer.self_attn.q_proj.weight):
            weight.data[weight.abs() < weight.abs().median()] = 0
    masks.take(model)


def descent(model: Any, settings: Training) -> Any:
    from torch.optim import SGD

    return SGD(model.parameters(), settings.learning_rate)


if __name__ == "__main__":
    errors.run(main)
