"""One process of the harness: its threads, its determinism and its log lines."""

import ctypes
import logging
import os
import sys
import time
from typing import TYPE_CHECKING

from compression_order.common import arithmetic, bf16
from compression_order.common.errors import HarnessError

if TYPE_CHECKING:
    import torch

log = logging.getLogger("compression_order")


class Progress:
    """Lines such as `[P-KD] step 12/40  0.52 step/s  54 s left  loss 1.93`, at most one every 5 s.

    Lines rather than a bar: several jobs share the terminal, and the log keeps them.
    """

    def __init__(self, label: str, unit: str, total: int, start: int = 0) -> None:
        self.label, self.unit, self.total, self.start = label, unit, total, start
        self._began = self._told = time.monotonic()

    def update(self, done: int, note: str = "") -> None:
        """Tell that `done` of `total` units are finished."""
        now = time.monotonic()
        if now - self._told < 5 and done < self.total:
            return
        self._told = now
        rate = (done - self.start) / max(now - self._began, 1e-9)
        left = (self.total - done) / rate if rate else float("inf")
        log.info(
            "[%s] %s %d/%d  %.2f %s/s  %.0f s left  %s",
            self.label, self.unit, done, self.total, rate, self.unit, left, note,
        )  # fmt: skip


def start(
    threads: int,
    seed: int = 0,
    device: str = "cpu",
    compute: str = arithmetic.BF16,
    as_served: bool = False,
) -> "torch.device":
    """Prepare torch for a deterministic process that keeps to its cores; where it computes.

    More OpenMP threads than the rule owns stall every job on the machine; denormals slow
    late training steps on CPUs; so do products of bf16 matrices on those without instructions for
    them; libraries that phone home or draw bars are silenced.

    Args:
        threads: that torch may use.
        seed: of torch's random numbers.
        device: cpu or cuda.
        compute: what products are made in; see `arithmetic.py`.
        as_served: leave products of bf16 matrices as slow as a server of the model would have them.

    Raises:
        HarnessError: the device is a GPU and torch sees none.
    """
    # matrix products on a GPU repeat their bits only with a fixed workspace; read at its start
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    import torch
    import transformers

    arithmetic.use(compute)
    _keep_memory()
    if device == "cpu" and not as_served:
        bf16.widen()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    # of several processes of one stage the first tells of the work, the others of faults only
    log.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)
    for chatty in ("bitsandbytes", "lm_eval", "transformers"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.use_deterministic_algorithms(True)
    # it would also fill every tensor that it allocates: 4 to 6% of a pass, for a fault (reading
    # what was never written) that the tests of equal bytes would show
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(seed)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return usable(device)


def usable(name: str) -> "torch.device":
    """The device of that name, cpu or cuda.

    Torch is asked, not CUDA_VISIBLE_DEVICES: a cluster sets that for a stand-in too.

    Raises:
        HarnessError: it is a GPU and torch sees none.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise HarnessError(
            "device: the study computes on cuda, and torch sees no GPU here; run it on a machine "
            "with one (docker run --gpus all, a GPU partition), or set `device: cpu` in the study"
        )
    return torch.device(name)


def _keep_memory() -> None:
    """Let glibc reuse freed blocks instead of giving them back to the kernel.

    Training allocates the same tensors of 100 MB at every step; faulting their pages in anew
    took half of the time of the loss. Where there is no glibc nothing is changed.
    """
    m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)
