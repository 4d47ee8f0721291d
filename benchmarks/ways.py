"""What is measured: comparisons, and the ways of doing the work of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OURS = "ours"


@dataclass(frozen=True)
class Comparison:
    """Work that several programs do.

    Attributes:
        name: of the comparison.
        title: on the page.
        unit: what is counted for speed.
        memory: what peak memory is of.
        memory_goal: the largest share of the other's memory that is wanted; None: no goal.
    """

    name: str
    title: str
    unit: str
    memory: str = "the process"
    memory_goal: float | None = None


@dataclass(frozen=True)
class Way:
    """One program that does the work of a comparison.

    Attributes:
        comparison: its name.
        name: of the way, unique within the comparison.
        label: on the page.
        function: `module:function` below `benchmarks.programs`.
        value: what it must compute; ways with an equal one must agree (`summary.disagreement`).
        tolerance: relative difference from the reference at which a way is refused.
        options: arguments of the function.
        arithmetic: what its matrix products compute in; None: the one that is faster here.
        environment: the folder of its virtual environment.
        quick: whether `make benchmark QUICK=1` runs it.
        goal: how many times as fast ours is to be; None: no goal.
    """

    comparison: str
    name: str
    label: str
    function: str
    value: str
    tolerance: float
    options: Mapping[str, Any] = field(default_factory=dict)
    arithmetic: str | None = None
    environment: str = ".venv"
    quick: bool = False
    goal: float | None = None

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return ROOT / self.environment / "bin/python"


COMPARISONS = (
    Comparison("distillation", "Training by distillation", "tokens", memory_goal=0.9),
    Comparison("loss", "The loss alone, over 151,936 ids", "tokens", "the loss"),
    Comparison("perplexity", "Perplexity", "tokens"),
    Comparison("questions", "Questions", "questions"),
    Comparison("nf4", "Quantizing to NF4", "MB"),
    Comparison("gptq", "Quantizing by GPTQ", "MB"),
)

BENCHMARK, QUANT = ".venv-benchmark", ".venv-quant"
_SHORT = {"float32": "float32", "bfloat16": "bf16"}
# the references are float32's; products of bf16 factors move a loss by less than this
_NEAR = {"float32": 0.002, "bfloat16": 0.02}


# a divergence alone is a small difference of near numbers
_DIVERGENCE_NEAR = {"float32": 0.002, "bfloat16": 0.05}


def _training(
    program: str,
    label: str,
    value: str,
    goal: float,
    quick: str = "",
    environment: str = ".venv",
    near: Mapping[str, float] = _NEAR,
) -> list[Way]:
    """A training program in both arithmetics; `quick` names the one that QUICK=1 runs."""
    return [
        Way(
            comparison="distillation",
            name=f"{program}-{_SHORT[dtype]}",
            label=f"{label}, {_SHORT[dtype]}",
            function=f"training:{program}",
            value=value,
            tolerance=near[dtype],
            options={"dtype": dtype},
            arithmetic=dtype,
            environment=environment,
            quick=dtype == quick,
            goal=goal,
        )
        for dtype in ("bfloat16", "float32")
    ]


def _lm_eval(comparison: str, tolerance: float, goal: float) -> list[Way]:
    """lm-eval with the model in both precisions."""
    return [
        Way(
            comparison=comparison,
            name=f"lm-eval-{_SHORT[dtype]}",
            label=f"lm-eval, {_SHORT[dtype]}",
            function=f"evaluation:lm_eval_{comparison}",
            value=comparison,
            tolerance=tolerance,
            options={"dtype": dtype},
            arithmetic=dtype,
            quick=dtype == "float32",
            goal=goal,
        )
        for dtype in ("bfloat16", "float32")
    ]


def _ours(comparison: str, value: str, tolerance: float) -> list[Way]:
    """Ours in the arithmetic that is faster on this machine, and in the other one."""
    function = f"ours:{comparison}"
    return [
        Way(comparison, OURS, "ours", function, value, tolerance, quick=True),
        Way(
            comparison, "ours-other", "ours, the other arithmetic", function, value, tolerance,
            options={"other": True},
        ),
    ]  # fmt: skip


WAYS: tuple[Way, ...] = (
    *_ours("distillation", "buckets", 0.02),
    *_training("trainer", "HF Trainer", "buckets", 1.3, quick="float32"),
    *_training(
        "gkd", "TRL GKDTrainer", "divergence", 2.0, environment=BENCHMARK, near=_DIVERGENCE_NEAR
    ),
    *_training("plain", "plain PyTorch script", "vocabulary", 2.0, quick="float32"),
    *_training("published", "script of arXiv 2511.19495", "published", 6.0),
    Way("loss", OURS, "ours", "ours:loss", "loss", 0.02, arithmetic="bfloat16"),
    Way(
        "loss", "plain", "autograd over all logits", "losses:loss", "loss", 0.02,
        arithmetic="bfloat16",
    ),
    *_ours("perplexity", "perplexity", 0.02),
    *_lm_eval("perplexity", 0.02, 1.5),
    # a few ties in bf16 may fall the other way
    *_ours("questions", "questions", 0.25),
    *_lm_eval("questions", 0.25, 2.5),
    Way("nf4", OURS, "ours", "ours:nf4", "nf4", 0.01, arithmetic="bfloat16"),
    Way(
        "nf4", "bitsandbytes", "bitsandbytes", "quantizing:bitsandbytes", "nf4", 0.01,
        arithmetic="bfloat16",
    ),
    # two formats of the same bits and groups, with other tensors beside them
    Way(
        "gptq", OURS, "ours", "ours:gptq", "gptq", 0.05,
        arithmetic="bfloat16", environment=QUANT,
    ),
    Way(
        "gptq", "gptqmodel", "GPTQModel", "quantizing:gptqmodel", "gptq", 0.05,
        arithmetic="bfloat16", environment=BENCHMARK,
    ),
)  # fmt: skip


def find(comparison: str, name: str) -> Way:
    """The way of a comparison by its name."""
    return next(way for way in WAYS if (way.comparison, way.name) == (comparison, name))
