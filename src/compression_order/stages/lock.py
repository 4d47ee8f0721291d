"""The lock file of a study: in what its products are faster here, measured once.

A study with `compute: auto` is decided by this file, an input of its jobs like any other. Where a
study names its arithmetic, only the plan reads the file, for the rates. It lies beside the study
and outlives its results, so that no later run depends on a clock again.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from transformers import PretrainedConfig

from compression_order.checkpoint import disk
from compression_order.checkpoint.stored import Checkpoint
from compression_order.common import arithmetic, files, process

TOKENS = 512  # rows of a product, as of a small batch
MOST = 1_000_000_000  # operations of one timed product: wide ones are cut to fit
REPEATS = 3  # the fastest counts: whatever else runs only slows
# bf16 takes half the memory, so float32 must be clearly faster
CLEARLY = 1.1
HEAD = """\
# Which arithmetic is faster for the products of this study, measured once where it first ran.
# An input of its jobs: delete it and the next run measures again. Rates are operations a second.
"""
Product = tuple[int, int, int]  # rows, columns that are summed over, columns


def shapes(config: PretrainedConfig) -> list[Product]:
    """The products that a model's steps are made of: the widest linears, their gradient, the head.

    Args:
        config: of the model, as transformers has it.
    """
    matrices = disk.shape_of(config).matrices
    (rows, columns), (outputs, width) = max(matrices, key=lambda m: m[0] * m[1]), matrices[0]
    return [
        (TOKENS, columns, rows),
        (TOKENS, width, outputs),
        (rows, TOKENS, columns),
        (TOKENS // 2, width, int(config.vocab_size)),
    ]


def rate(products: Sequence[Product], dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second over all products, each the fastest of a few repeats.

    Args:
        products: see `shapes`.
        dtype: of both factors.
        device: where they are multiplied.
    """
    operations, seconds = 0, 0.0
    for rows, summed, whole in products:
        columns = max(1, min(whole, MOST // (2 * rows * summed)))
        left = torch.ones(rows, summed, dtype=dtype, device=device)
        right = torch.ones(columns, summed, dtype=dtype, device=device)  # as weights are stored
        operations += 2 * rows * summed * columns
        seconds += min(_seconds(left, right) for _ in range(REPEATS + 1))
    return operations / seconds


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    begin = time.perf_counter()
    left @ right.T
    if left.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def faster(rates: dict[str, float]) -> str:
    """bf16, unless float32 is clearly faster.

    Args:
        rates: arithmetic -> operations a second.
    """
    ahead = rates[arithmetic.FLOAT32] > CLEARLY * rates[arithmetic.BF16]
    return arithmetic.FLOAT32 if ahead else arithmetic.BF16


def write(model: Path, device: str, compute: str, out: Path) -> None:
    """Time the products, answer, store.

    Args:
        model: folder of the prepared model.
        device: cpu or cuda.
        compute: what the study names: bf16, float32 or auto.
        out: the lock file.
    """
    its = process.start(1, device=device)
    products = shapes(Checkpoint(model).config)
    dtypes = {arithmetic.BF16: torch.bfloat16, arithmetic.FLOAT32: torch.float32}
    rates = {name: rate(products, dtype, its) for name, dtype in dtypes.items()}
    chosen = faster(rates) if compute == arithmetic.AUTO else compute
    told = {"compute": chosen, "rates": {name: float(f"{r:.3g}") for name, r in rates.items()}}
    files.write_text(out, HEAD + yaml.safe_dump(told, sort_keys=False))
    print(f"{out}: {chosen}; " + ", ".join(f"{n} {r / 1e9:.1f} GFLOP/s" for n, r in rates.items()))
