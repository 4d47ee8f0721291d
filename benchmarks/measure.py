"""Measure one way of doing one thing once, in this process; the last line is the result as JSON.

python -m benchmarks.measure distillation ours work/benchmark/full
python -m benchmarks.measure peak
"""

import argparse
import importlib
import json
import os
from pathlib import Path
from typing import Any

# before the libraries, which read them when they are imported
for _name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TQDM_DISABLE"):
    os.environ[_name] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

SIZES = (1024, 2048)  # rows and columns of the square products
SECONDS = 0.6  # of CPU, for each product


def peak() -> dict[str, float]:
    """The most operations a CPU second of matrix products, by arithmetic.

    The fastest median over the sizes: a program that reaches it does nothing but multiply.
    """
    import torch

    torch.set_num_threads(1)
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    return {name: max(_rate(n, dtype) for n in SIZES) for name, dtype in dtypes.items()}


def _rate(size: int, dtype: Any) -> float:
    import statistics
    import time

    import torch

    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    a @ b
    taken: list[float] = []
    while sum(taken) < SECONDS or len(taken) < 3:
        begin = time.process_time()
        a @ b
        taken.append(time.process_time() - begin)
    return 2 * size**3 / statistics.median(taken)


def measure(comparison: str, name: str, folder: Path) -> dict[str, Any]:
    """What one way took, and what it computed."""
    from benchmarks.gauge import Gauge
    from benchmarks.given import Given
    from benchmarks.ways import find

    way = find(comparison, name)
    module, _, function = way.function.partition(":")
    program = importlib.import_module(f"benchmarks.programs.{module}")
    gauge = Gauge()
    found = getattr(program, function)(Given(folder), gauge, **way.options)
    return {
        "comparison": comparison,
        "way": name,
        "arithmetic": way.arithmetic or program.factors(),
        **gauge.measured(),
        **found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("comparison")
    parser.add_argument("way", nargs="?")
    parser.add_argument("folder", type=Path, nargs="?")
    args = parser.parse_args()
    if args.comparison == "peak":
        print(json.dumps(peak()))
    else:
        print(json.dumps(measure(args.comparison, args.way, args.folder)))


if __name__ == "__main__":
    main()
