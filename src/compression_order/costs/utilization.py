"""How busy a process keeps its device over time: one sample a second, in the background.

Of a GPU, what the driver says (`gpu.py`): the whole GPU, so it should serve one job. Of a CPU,
this process's own share of the cores that the job was given.
"""

import csv
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from compression_order.common.errors import HarnessError
from compression_order.costs.gpu import Gpu, current

PERIOD = 1.0  # s
ACTIVE = 10.0  # percent: a sample below it is left out of the figures, as the second study does
FIGURES = ("mean", "p90", "p95", "max")
COLUMNS = ("second", "cpu_percent", "rss_bytes", "gpu_percent", "gpu_memory_bytes")


@dataclass(frozen=True)
class Sample:
    """One moment.

    Attributes:
        second: since the sampling began.
        cpu_percent: of the job's cores, since the sample before.
        rss_bytes: resident memory of the process.
        gpu_percent: of the GPU, None where none is used or the driver does not say.
        gpu_memory_bytes: in use on the GPU, likewise.
    """

    second: float
    cpu_percent: float
    rss_bytes: int
    gpu_percent: float | None = None
    gpu_memory_bytes: int | None = None


class Sampler:
    """Samples from its making until `stop`, or until nobody holds it any more."""

    def __init__(self, threads: int, period: float = PERIOD) -> None:
        self.samples: list[Sample] = []
        self._ended = threading.Event()
        self._take = _probe(threads)
        work = (self.samples, self._take, self._ended, period)
        # a daemon that does not hold the sampler: a process that fails ends without waiting for it
        self._thread = threading.Thread(target=_sample, args=work, daemon=True)
        weakref.finalize(self, self._ended.set)
        self._thread.start()

    def stop(self) -> list[Sample]:
        """End sampling; what was sampled, at least one sample."""
        self._ended.set()
        self._thread.join()
        if not self.samples:
            self.samples.append(self._take())
        return self.samples


def _sample(
    samples: list[Sample], take: Callable[[], Sample], ended: threading.Event, period: float
) -> None:
    while not ended.wait(period):
        samples.append(take())


def _probe(threads: int) -> Callable[[], Sample]:
    """A function that takes one sample; CPU time counts from the call before."""
    began = before = time.monotonic()
    used = time.process_time()
    gpus: list[Gpu | None] = []

    def take() -> Sample:
        nonlocal before, used
        now, spent = time.monotonic(), time.process_time()
        share = 100 * (spent - used) / (max(now - before, 1e-9) * threads)
        before, used = now, spent
        if not gpus and (torch := _with_cuda()):
            gpus.append(current(torch))
        gpu = gpus[0] if gpus else None
        of_gpu = (gpu.utilization(), gpu.memory_used()) if gpu else (None, None)
        return Sample(now - began, share, psutil.Process().memory_info().rss, *of_gpu)

    return take


def _with_cuda() -> Any:
    """Torch, once the process computes on a GPU; the sampler must not be what starts CUDA."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)  # torch may be half imported by the other thread
    return torch if cuda and cuda.is_initialized() else None


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """The figures of a timeline: of the GPU where the driver told any, else of the CPU.

    Mean, 90th and 95th percentile (nearest rank) and maximum of utilization and memory, over the
    samples with a utilization of at least 10%; without such a sample they are absent.

    Args:
        samples: at least one.
    """
    on_gpu = [s for s in samples if s.gpu_percent is not None]
    of = "gpu" if on_gpu else "cpu"
    pairs = (
        [(s.gpu_percent, s.gpu_memory_bytes) for s in on_gpu]
        if on_gpu
        else [(s.cpu_percent, s.rss_bytes) for s in samples]
    )
    active = [(u, m) for u, m in pairs if u is not None and u >= ACTIVE]
    found: dict[str, Any] = {"of": of, "samples": len(pairs), "active_samples": len(active)}
    if active:
        found["percent"] = _figures([u for u, _ in active])
        memory = [m for _, m in active if m is not None]
        found |= {"memory_bytes": _figures(memory)} if memory else {}
    return found


def _figures(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    ranks = (-(-percent * len(ordered) // 100) for percent in (90, 95, 100))
    found = (sum(ordered) / len(ordered), *(ordered[rank - 1] for rank in ranks))
    return {name: round(value, 2) for name, value in zip(FIGURES, found, strict=True)}


def is_summary(value: Any) -> bool:
    """Whether a value read from a record is what `summary` gives."""
    if not isinstance(value, dict) or not {"of", "samples", "active_samples"} <= {*value}:
        return False
    told = [value[key] for key in ("percent", "memory_bytes") if key in value]
    return all(isinstance(its, dict) and {*FIGURES} <= {*its} for its in told)


def write(path: Path, samples: Sequence[Sample]) -> None:
    """The timeline as CSV; what was not told is empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for s in samples:
            gpu = ("" if v is None else v for v in (s.gpu_percent, s.gpu_memory_bytes))
            writer.writerow((f"{s.second:.1f}", f"{s.cpu_percent:.1f}", s.rss_bytes, *gpu))


def read(path: Path) -> list[Sample]:
    """A timeline that `write` wrote.

    Raises:
        HarnessError: it is damaged.
    """
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    try:
        samples = [
            Sample(
                float(row["second"]),
                float(row["cpu_percent"]),
                int(row["rss_bytes"]),
                float(row["gpu_percent"]) if row["gpu_percent"] else None,
                int(row["gpu_memory_bytes"]) if row["gpu_memory_bytes"] else None,
            )
            for row in rows
        ]
    except (KeyError, TypeError, ValueError):
        samples = []
    if not samples:
        raise HarnessError(f"{path} is not a timeline of samples; delete it and its run again")
    return samples
