"""What the NVIDIA driver tells of a GPU: how busy it is, its memory, the energy it has drawn.

Through the driver's own library, libnvidia-ml, which every machine with the driver has: the
package nvidia-ml-py, which binds it, is not in the locks, and torch.cuda.utilization needs it.
Structures and return codes are those of NVIDIA's NVML API reference (nvml.h).
"""

import ctypes
from dataclasses import dataclass
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
_SUCCESS = 0


class _Utilization(ctypes.Structure):
    """nvmlUtilization_t: percent of the last sample period."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    """nvmlMemory_t: bytes."""

    _fields_ = tuple((name, ctypes.c_ulonglong) for name in ("total", "free", "used"))


@dataclass(frozen=True)
class Gpu:
    """One GPU, as the library knows it. A figure that this GPU does not give is None."""

    library: Any
    handle: Any

    def utilization(self) -> float | None:
        """Percent of the last period in which a kernel ran: of the whole GPU, all processes."""
        found = _Utilization()
        return float(found.gpu) if self._ask("nvmlDeviceGetUtilizationRates", found) else None

    def memory_used(self) -> int | None:
        """Bytes in use on the whole GPU, by all processes."""
        found = _Memory()
        return int(found.used) if self._ask("nvmlDeviceGetMemoryInfo", found) else None

    def joules(self) -> float | None:
        """Energy since the driver was loaded; GPUs before Volta do not count it."""
        found = ctypes.c_ulonglong()
        asked = self._ask("nvmlDeviceGetTotalEnergyConsumption", found)
        return found.value / 1000 if asked else None

    def _ask(self, function: str, answer: Any) -> bool:
        call = getattr(self.library, function, None)
        return call is not None and call(self.handle, ctypes.byref(answer)) == _SUCCESS


def gpu(uuid: str, library: str = LIBRARY) -> Gpu | None:
    """The GPU of that UUID, or None where there is no driver library or it does not know it.

    A UUID names the same GPU whatever CUDA_VISIBLE_DEVICES hides.

    Args:
        uuid: as `GPU-8c1f...`.
        library: file to load.
    """
    try:
        loaded = ctypes.CDLL(library)
        init, find = loaded.nvmlInit_v2, loaded.nvmlDeviceGetHandleByUUID
    except (OSError, AttributeError):
        return None
    handle = ctypes.c_void_p()
    known = init() == _SUCCESS and find(uuid.encode(), ctypes.byref(handle)) == _SUCCESS
    return Gpu(loaded, handle) if known else None


def current(torch: Any) -> Gpu | None:
    """The GPU that torch computes on now.

    Args:
        torch: the module, with CUDA in use.
    """
    uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
    return gpu(f"GPU-{uuid}")
