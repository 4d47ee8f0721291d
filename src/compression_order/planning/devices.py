"""Devices on which a study may run: a small table of published or measured peak figures."""

from dataclasses import dataclass

from compression_order.common.errors import HarnessError

GIB = 2**30


@dataclass(frozen=True)
class Device:
    """One kind of device.

    Attributes:
        peak: bf16 operations a second of one job, dense, accumulated in float32.
        memory: bytes of device memory, or None where it differs from machine to machine.
        workers: jobs that run side by side, each at `peak`.
        source: where the figures are from.
    """

    peak: float
    memory: int | None
    workers: int
    source: str


DEVICES = {
    "cpu-2-cores": Device(
        0.25e12, None, 2, "AVX512-BF16, about 250 GFLOP/s a core, measured; one job a core"
    ),
    "a100-80gb": Device(312e12, 80 * GIB, 1, "NVIDIA A100 80GB data sheet, bf16 without sparsity"),
    "h100-sxm": Device(989.4e12, 80 * GIB, 1, "NVIDIA H100 SXM data sheet, bf16 without sparsity"),
    "l40s": Device(362.05e12, 48 * GIB, 1, "NVIDIA L40S data sheet, bf16 without sparsity"),
    "rtx-4090": Device(165.2e12, 24 * GIB, 1, "NVIDIA Ada white paper, bf16 without sparsity"),
}
# default device of a plan, by the study's `device`
USUAL = {"cpu": "cpu-2-cores", "cuda": "a100-80gb"}
UTILIZATION = 0.3  # share of a peak that a job reaches, unless the plan is told another
# of the rate of a study's own products: they take 60 to 67% of a training step and of a measurement
# on an EPYC and a Xeon with AVX512-BF16, 2026-11-28
OF_PRODUCTS = 0.6
MEASURED = "measured"  # name of the machine on which a study's lock file was written


def measured(rate: float, workers: int) -> Device:
    """A machine whose products were timed.

    Args:
        rate: operations a second of one job's products.
        workers: jobs that run side by side.
    """
    return Device(rate, None, workers, f"{rate / 1e9:.0f} GFLOP/s of a job's products, measured")


def named(name: str) -> Device:
    """The device of that name.

    Raises:
        HarnessError: there is none.
    """
    if name not in DEVICES:
        raise HarnessError(
            f"--device: {name!r} is not in the table of devices; use one of: {', '.join(DEVICES)}"
        )
    return DEVICES[name]
