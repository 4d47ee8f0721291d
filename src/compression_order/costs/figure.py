"""A figure of how busy the device was over the stages of orderings, one row an ordering.

The form of the second study's figure: utilization and memory over time, a sample a second, with
mean, 90th and 95th percentile and maximum over the samples of at least 10% utilization.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compression_order.common.writing import MISSING, aligned
from compression_order.costs import utilization
from compression_order.costs.utilization import FIGURES, Sample

WIDTH, HEIGHT = 11.0, 1.9  # inches: of the figure, of a row
SHADES = ("#f2f2f2", "#ffffff")  # of stages, one after another
USED, MEMORY = "#1f77b4", "#d95f02"


@dataclass(frozen=True)
class Timeline:
    """The stages of one ordering, one after another.

    Attributes:
        name: the ordering.
        stages: stage -> second at which it begins.
        samples: of all stages, seconds counted from the start of the first.
    """

    name: str
    stages: Mapping[str, float]
    samples: Sequence[Sample]

    @property
    def summary(self) -> dict[str, Any]:
        """As `utilization.summary` gives it."""
        return utilization.summary(self.samples)

    @property
    def curves(self) -> tuple[list[float], list[float], list[float]]:
        """Seconds, utilization in percent and memory in GB, of the device that was used."""
        on_gpu = self.summary["of"] == "gpu"
        kept = [s for s in self.samples if s.gpu_percent is not None or not on_gpu]
        used = [s.gpu_percent if on_gpu else s.cpu_percent for s in kept]
        held = [s.gpu_memory_bytes if on_gpu else s.rss_bytes for s in kept]
        gigabytes = [float("nan") if m is None else m / 1e9 for m in held]
        return [s.second for s in kept], [float(u or 0) for u in used], gigabytes


def read(name: str, paths: Mapping[str, Path]) -> Timeline:
    """The timeline of an ordering: those of its stages put one after another.

    Args:
        name: the ordering.
        paths: stage -> its file, in the order in which they ran.

    Raises:
        HarnessError: a file is damaged.
    """
    starts, samples, begins = {}, [], 0.0
    for stage, path in paths.items():
        found = utilization.read(path)
        starts[stage] = begins
        samples += [replace(sample, second=begins + sample.second) for sample in found]
        begins = samples[-1].second
    return Timeline(name, starts, samples)


def told(drawn: Sequence[Timeline]) -> str:
    """The figures of each ordering, for the terminal."""
    header = ("ordering", "device", "seconds", "samples", "busy %: mean", *FIGURES[1:], "max GB")
    lines = []
    for its in drawn:
        found = its.summary
        percent, memory = found.get("percent", {}), found.get("memory_bytes", {})
        most = f"{memory['max'] / 1e9:.2f}" if memory else MISSING
        busy = (f"{percent[f]:.0f}" if percent else MISSING for f in FIGURES)
        counts = (f"{its.samples[-1].second:.0f}", str(found["active_samples"]))
        lines.append((its.name, found["of"], *counts, *busy, most))
    return aligned(header, lines)


def draw(drawn: Sequence[Timeline], path: Path, form: str) -> None:
    """Write the figure.

    Args:
        drawn: at least one ordering.
        path: of the file.
        form: svg, png or pdf.
    """
    import matplotlib
    from matplotlib.figure import Figure

    # the same bytes from the same samples: ids of an SVG are random otherwise; and its words stay
    # words, which a reader may search
    with matplotlib.rc_context(
        {"svg.hashsalt": "utilization", "svg.fonttype": "none", "font.size": 8}
    ):
        figure = Figure(figsize=(WIDTH, HEIGHT * len(drawn) + 0.6), layout="constrained")
        rows = figure.subplots(len(drawn), 1, sharex=True, squeeze=False)[:, 0]
        for axes, its in zip(rows, drawn, strict=True):
            _row(axes, its)
        rows[-1].set_xlabel("seconds of its stages, one after another")
        undated = {"Software": None} if form == "png" else {"Creator": None}
        undated |= {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form, {})
        figure.savefig(path, format=form, metadata=undated)


def _row(axes: Any, its: Timeline) -> None:
    """One ordering: utilization to the left scale, memory to the right, stages shaded."""
    ends = [*list(its.stages.values())[1:], its.samples[-1].second]
    spans = zip(its.stages.items(), ends, strict=True)
    for nth, ((stage, start), end) in enumerate(spans):
        axes.axvspan(start, end, color=SHADES[nth % len(SHADES)], zorder=0)
        axes.text((start + end) / 2, 102, stage, ha="center", va="bottom", fontsize=7)
    seconds, used, held = its.curves
    axes.plot(seconds, used, color=USED, linewidth=0.8)
    axes.set(ylim=(0, 112), yticks=(0, 50, 100), xlim=(0, None))
    device = its.summary["of"].upper()
    axes.set_ylabel(f"{device} busy, %", color=USED)
    memory = axes.twinx()
    memory.plot(seconds, held, color=MEMORY, linewidth=0.8)
    memory.set(ylim=(0, None))
    memory.set_ylabel("memory, GB", color=MEMORY)
    axes.set_title(_title(its), loc="left", fontsize=8)


def _title(its: Timeline) -> str:
    found = its.summary
    parts = [its.name]
    for key, unit, scale in (("percent", "%", 1.0), ("memory_bytes", "GB", 1e9)):
        if key in found:
            figures = ", ".join(f"{f} {found[key][f] / scale:.3g}" for f in FIGURES)
            parts.append(f"{'busy' if unit == '%' else 'memory'} ({unit}): {figures}")
    return "   ".join(parts)
