"""docs/performance.md and its figure, from the measurements in benchmarks/results."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert
from forest import DARK, GRID, INK, MARK, PAPER
from lab import ROOT

from benchmarks.sizes import FULL
from benchmarks.ways import COMPARISONS, OURS, WAYS, Comparison, Way
from compression_order.common import writing

RESULTS = ROOT / "benchmarks/results"
FIGURE = "performance.svg"
WIDTH, ROW = 420, 24  # pixels: of a plot, of one program
TICKS = (0.5, 1, 2, 4, 8)
GOAL = "#2da44e"

HEAD = """\
# Speed and memory beside other programs

`make docs` writes this page from `benchmarks/results`, which `make benchmark` measures. Each
table is about one kind of machine.

Every program does the same work on the same data: SmolLM2-135M-Instruct, one thread, one process
a measurement. The programs take turns, and in each round the order is another. A ratio is taken
within a round. The tables give the median over the rounds, and in brackets the lowest and the
highest.

- **Speed** counts work done in a second of CPU time, user and system together. A ratio above 1
  says that ours is faster. **By the clock** is the same ratio in wall time.
- **Memory** is the peak of ours over that of the other program. A ratio below 1 says that ours
  needs less.
- **Share of the peak** is the rate at which a program computes, over the rate of plain matrix
  products. These are measured in the same round, in the arithmetic of the program. All operations
  that run are counted, those on padding and those of a teacher too.
- **Goals** stand beside the ratios that are to be reached.

A program must compute the same as ours, or it is refused. The loss of each first training step is
held against a reference in float32. Perplexities, shares of right answers and sizes of stored
files are held against ours.
"""
PROGRAMS = f"""\
## The programs

Training sees {FULL.batch} conversations a step, in the same batches. The first of {FULL.steps}
steps warms up and is not timed. bf16 stands for autocast of float32 weights.

- **ours**: the training of `src/distill.py`, with the teacher's cached outputs. It computes in the
  arithmetic that `compute: auto` chooses on the machine, which stands in brackets. The row below
  has the other one.
- **HF Trainer**: transformers' `Trainer` with the same cached outputs. Its loss is ours, written
  plainly with autograd.
- **TRL GKDTrainer**: the teacher is in the loop. Its loss is the divergence over the whole
  vocabulary, without cross entropy.
- **plain PyTorch script**: the teacher is in the loop. The loss is over the whole vocabulary.
- **script of arXiv 2511.19495**: the same, padded to 512 tokens and with the divergence of
  padding too.
- **autograd over all logits**: our loss, written plainly. Here memory is what the loss and its
  gradients take above their inputs.
- **lm-eval**: its own model class and its own scoring. It computes perplexity over windows as
  long as ours. It asks the same questions of the same task files. bf16 and float32 are those of
  the weights.
- **bitsandbytes**: `from_pretrained` and `save_pretrained` with its configuration. Ours loads a
  checkpoint, quantizes and stores it, and keeps the zeros of a pruning.
- **GPTQModel**: the same calibration windows, bits and groups as ours. Its pool of workers
  refuses to start with one, so it has two; compare it in CPU time. Ours is llm-compressor's GPTQ
  in the environment `quant`.

## Measure again

```sh
make benchmark            # everything, five rounds: about two hours
make benchmark ROUNDS=1   # everything, one round
make benchmark QUICK=1    # a small selection, in two to three minutes
```

The first two store their numbers in `benchmarks/results`, one file a kind of machine. The last
stores nothing. It fails when a ratio is less than three quarters of the stored one, and again
when measured once more. On a kind of machine without stored numbers it compares nothing, and says
so. A kind is a family of processors, its best instructions for matrices, and the release of
torch.

Programs that this project does not use itself have an environment of their own
(`make benchmark-env`, `envs/benchmark.in`).
"""
NONE = "No machine has been measured yet.\n"


def pages() -> tuple[tuple[str, Callable[[], str]], ...]:
    """What is generated: the page, and its figure once there is something to draw."""
    figure = (f"docs/{FIGURE}", lambda: draw(measured()))
    return (("docs/performance.md", lambda: write(measured())), *((figure,) if measured() else ()))


def measured(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """What is stored of each kind of machine that was measured in full."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return [machine for machine in found if "full" in machine]


def write(machines: list[dict[str, Any]]) -> str:
    """The page."""
    figure = [
        f"![How many times as fast as each program ours is]({FIGURE})\n\nGreen marks are goals.\n"
    ]
    parts = [HEAD, *(figure if machines else [NONE])]
    for machine in machines:
        parts += section(machine)
    return "\n".join([*parts, PROGRAMS])


def section(machine: Mapping[str, Any]) -> Iterator[str]:
    """The part about one kind of machine."""
    found = machine["full"]
    rates = {name: its["median"] / 1e9 for name, its in found["peak_flop_per_cpu_s"].items()}
    yield f"## {machine['kind']}\n"
    run = f"{machine['processor']}, commit {machine['commit']}, {machine['date']}"
    yield (
        f"{run}. Plain matrix products reach {rates['float32']:.0f} GFLOP a CPU second in float32, "
        f"and {rates['bfloat16']:.0f} in bf16.\n"
    )
    for comparison in COMPARISONS:
        if comparison.name in found["comparisons"]:
            yield f"### {comparison.title}\n"
            yield table(comparison, found["comparisons"][comparison.name]) + "\n"


def table(comparison: Comparison, found: Mapping[str, Any]) -> str:
    """Ours in its own units, then every other program beside it."""
    memory = f"memory of {comparison.memory}"
    header = [
        "program", f"{comparison.unit} a CPU second", "ours is faster", "goal", "by the clock",
        memory, "ours needs", "goal", "share of the peak", "rounds",
    ]  # fmt: skip
    ways = [way for way in WAYS if way.comparison == comparison.name and way.name in found]
    return writing.grid([header, *(row(comparison, way, found[way.name]) for way in ways)])


def row(comparison: Comparison, way: Way, its: Mapping[str, Any]) -> list[str]:
    """One program."""
    other = way.name != OURS
    share = its.get("share_of_peak")
    goal = comparison.memory_goal if other else None
    return [
        f"**{way.label}** ({_plain(its['arithmetic'])})"
        if way.function.startswith("ours:")
        else way.label,
        f"{its['per_cpu_s']['median']:.4g}",
        ratio(its["speed"]) if other else "",
        f"{way.goal:g}" if way.goal else "",
        f"{its['speed_by_clock']['median']:.2f}" if other else "",
        f"{its['peak_bytes']['median'] / 1e9:.2f} GB",
        ratio(its["memory"]) if other else "",
        f"{goal:g}" if goal else "",
        f"{share['median']:.0%}" if share else "",
        str(its["rounds"]),
    ]


def ratio(its: Mapping[str, float]) -> str:
    """A median with the lowest and the highest."""
    return f"{its['median']:.2f} ({its['low']:.2f} to {its['high']:.2f})"


def _plain(arithmetic: str) -> str:
    return {"bfloat16": "bf16"}.get(arithmetic, arithmetic)


def points(machines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every other program with the ratio of speed, its interval and the goal."""
    titles = {comparison.name: comparison.title.partition(",")[0] for comparison in COMPARISONS}
    several = len(machines) > 1
    return [
        {
            "program": f"{titles[way.comparison]}: {way.label}"
            + (f" ({machine['kind']})" if several else ""),
            "told": f"{its['speed']['median']:.2f}",
            "goal": way.goal,
            **{name: its["speed"][name] for name in ("median", "low", "high")},
        }
        for way in WAYS
        for machine in machines
        for its in [machine["full"]["comparisons"].get(way.comparison, {}).get(way.name)]
        if its and not way.function.startswith("ours:")
    ]


def draw(machines: list[dict[str, Any]]) -> str:
    """The figure as SVG. Equal results give equal bytes: no place depends on a machine's fonts."""
    config = {"background": PAPER, "font": "Arial, Helvetica, sans-serif", "view": {"stroke": None}}
    kinds = writing.listed([machine["kind"] for machine in machines])
    spec = {**chart(kinds, points(machines)).to_dict(), "config": config}
    version = alt.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
    drawn: str = vl_convert.vegalite_to_svg(spec, vl_version=version)
    head, end, rest = drawn.partition(">")
    return f"{head}{end}{DARK}{rest}\n"


def chart(kinds: str, its: list[dict[str, Any]]) -> alt.LayerChart:
    """How many times as fast ours is: a point, an interval and perhaps a goal a program."""
    plain = {"domain": False, "ticks": False, "labelFontSize": 13, "labelColor": INK}
    ends = [min(TICKS[0], *(i["low"] for i in its)), max(TICKS[-1], *(i["high"] for i in its))]
    axis = alt.Axis(
        format="~g", values=TICKS, gridColor=GRID, labelPadding=8,
        labelFlush=False, labelOverlap=False, **plain,
    )  # fmt: skip
    scale = alt.Scale(type="log", domain=ends, nice=False)
    low, middle, goal = (
        alt.X(f"{name}:Q", scale=scale, axis=axis, title=None) for name in ("low", "median", "goal")
    )
    y = alt.Y("program:N", sort=None, title=None).axis(labelLimit=0, labelPadding=14, **plain)
    base = alt.Chart(alt.InlineData(values=its)).encode(y=y)
    interval = base.mark_rule(strokeWidth=3, color=MARK).encode(x=low, x2="high:Q")
    point = base.mark_point(filled=True, size=80, color=MARK, opacity=1).encode(x=middle)
    wanted = (
        base.transform_filter("datum.goal")
        .mark_tick(thickness=3, size=16, color=GOAL)
        .encode(x=goal)
    )
    told = base.mark_text(align="left", fontSize=13, color=INK).encode(
        text="told:N", x=alt.value(WIDTH + 12)
    )
    title = alt.TitleParams(
        f"How many times as fast ours is: {kinds}",
        anchor="start", frame="group", color=INK, fontSize=14, fontWeight="normal", offset=14,
    )  # fmt: skip
    longest = max(len(i["program"]) for i in its)
    padding = {"left": 20 + 7 * longest, "top": 42, "right": 60, "bottom": 30}
    return alt.layer(interval, wanted, point, told).properties(
        title=title, width=WIDTH, height=ROW * len(its), padding=padding, autosize="none"
    )
