"""Where a process spent its time, and how busy its device was.

Written beside the results; no table and no manifest reads it.
"""

import resource
import sys
import time
from pathlib import Path

import psutil

from compression_order.common import files
from compression_order.costs import utilization


def process_age() -> float:
    """Seconds since this process was started, interpreter start and imports included."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return time.time() - psutil.Process().create_time()
    # psutil adds the time of the boot, in whole seconds, to what Linux knows in hundredths
    since_boot = psutil.Process().create_time() - psutil.boot_time()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot


class Costs:
    """The clock and the sampler of one process.

    Args:
        process: what runs, the name of the record.
        threads: the cores that it was given.
        sampled: whether a second thread looks how busy the device is, once a second.
    """

    def __init__(self, process: str, threads: int, sampled: bool = True) -> None:
        self.process = process
        self.threads = threads
        self._sampler = utilization.Sampler(threads) if sampled else None
        self.load_s = 0.0
        self.startup_s = process_age()
        self._began = time.monotonic()

    def loaded(self) -> None:
        """Mark that models and text are in memory: the work proper begins."""
        self.load_s = time.monotonic() - self._began

    def write(self, folder: Path) -> None:
        """Write `<folder>/<process>.json` (seconds, bytes, percent) and its timeline as CSV."""
        samples = self._sampler.stop() if self._sampler else []
        record = self.record()
        if samples:
            record["utilization"] = utilization.summary(samples)
            utilization.write(folder / f"{self.process}.utilization.csv", samples)
        files.write_json(folder / f"{self.process}.json", record)

    def record(self) -> dict[str, object]:
        """What the process has taken until now."""
        busy = time.monotonic() - self._began
        used = resource.getrusage(resource.RUSAGE_SELF)
        record: dict[str, object] = {
            "process": self.process,
            "threads": self.threads,
            "startup_s": round(self.startup_s, 3),
            "load_s": round(self.load_s, 3),
            "work_s": round(busy - self.load_s, 3),
            "wall_s": round(self.startup_s + busy, 3),
            "cpu_s": round(used.ru_utime + used.ru_stime, 3),
            "peak_rss_bytes": used.ru_maxrss * 1024,
        }
        torch = sys.modules.get("torch")
        if torch and torch.cuda.is_initialized():
            record["device"] = torch.cuda.get_device_name()
            record["peak_device_bytes"] = torch.cuda.max_memory_allocated()
        return record
