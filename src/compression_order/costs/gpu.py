"""What the NVIDIA driver tells of a GPU: how busy it is, its memory, the energy it has drawn.

Through nvidia-ml-py, NVIDIA's own binding of NVML, which every machine with the driver has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pynvml


@dataclass(frozen=True)
class Gpu:
    """One GPU, as NVML knows it. A figure that this GPU does not give is None."""

    handle: Any

    def utilization(self) -> float | None:
        """Percent of the last period in which a kernel ran: of the whole GPU, all processes."""
        found = self._ask(pynvml.nvmlDeviceGetUtilizationRates)
        return None if found is None else float(found.gpu)

    def memory_used(self) -> int | None:
        """Bytes in use on the whole GPU, by all processes."""
        found = self._ask(pynvml.nvmlDeviceGetMemoryInfo)
        return None if found is None else int(found.used)

    def joules(self) -> float | None:
        """Energy since the driver was loaded; GPUs before Volta do not count it."""
        found = self._ask(pynvml.nvmlDeviceGetTotalEnergyConsumption)
        return None if found is None else found / 1000

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        try:
            return question(self.handle)
        except pynvml.NVMLError:
            return None


def known(uuid: str) -> Gpu | None:
    """The GPU of that UUID, or None where there is no driver or it does not know it.

    A UUID names the same GPU whatever CUDA_VISIBLE_DEVICES hides.

    Args:
        uuid: as `GPU-8c1f...`.
    """
    try:
        pynvml.nvmlInit()
        return Gpu(pynvml.nvmlDeviceGetHandleByUUID(uuid))
    except pynvml.NVMLError:
        return None


def current(torch: Any) -> Gpu | None:
    """The GPU that torch computes on now.

    Args:
        torch: the module, with CUDA in use.
    """
    uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
    return known(f"GPU-{uuid}")
