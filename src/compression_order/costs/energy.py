"""Energy that the device reports: of a GPU through NVML, of a CPU through Intel's RAPL counters.

Both count everything that runs on the device, other processes included.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from compression_order.costs.gpu import Gpu, current

POWERCAP = Path("/sys/class/powercap")


class Meter(Protocol):
    """A counter of energy."""

    @property
    def source(self) -> str:
        """What is counted, for the record."""

    def joules(self) -> float:
        """Energy since some moment in the past."""


@dataclass(frozen=True)
class GpuMeter:
    """A GPU with its memory."""

    gpu: Gpu
    source: str = "NVML, the whole GPU"

    def joules(self) -> float:
        """Energy since the driver was loaded."""
        found = self.gpu.joules()
        assert found is not None  # `meter` asked once
        return found


class RaplMeter:
    """All processor packages; their counters wrap around, so it must be read every few minutes."""

    source = "RAPL, all processor packages"

    def __init__(self, counters: list[Path]) -> None:
        self._counters = counters
        self._last = [_micro(path / "energy_uj") for path in counters]
        self._limits = [_micro(path / "max_energy_range_uj") for path in counters]
        self._sum = 0

    def joules(self) -> float:
        """Energy since this was made."""
        now = [_micro(path / "energy_uj") for path in self._counters]
        for last, found, limit in zip(self._last, now, self._limits, strict=True):
            self._sum += found - last if found >= last else limit - last + found
        self._last = now
        return self._sum / 1e6


def meter(device: torch.device, powercap: Path = POWERCAP) -> Meter | None:
    """What counts the energy of a device, or None where nothing does or may be read.

    Args:
        device: cpu or cuda.
        powercap: folder of the kernel's power capping framework.
    """
    if device.type == "cuda":
        gpu = current(torch)
        return GpuMeter(gpu) if gpu and gpu.joules() is not None else None
    # intel-rapl:0 is a package, on AMD too; intel-rapl:0:0 a part of it
    packages = [path for path in sorted(powercap.glob("intel-rapl:*")) if path.name.count(":") == 1]
    try:
        return RaplMeter(packages) if packages else None
    except (OSError, ValueError):  # since 2020 only root may read them, unless the system says else
        return None


def _micro(path: Path) -> int:
    return int(path.read_text())
