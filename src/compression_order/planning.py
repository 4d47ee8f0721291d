"""The jobs of a study and what they take, before anything runs.

The same jobs as `rules/`: a base a seed, one teacher a distilling token, one reference, a stage
a node and a seed, a measurement a row and a seed. Fetching, and converting or making the model,
are not planned. Pure Python: no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compression_order import demands, evaluation_demands, formulas, orderings, shapes
from compression_order.demands import Demand, Memory, State, Training
from compression_order.errors import HarnessError
from compression_order.evaluation_demands import Assumed
from compression_order.orderings import BASE, Stage
from compression_order.shapes import Architecture
from compression_order.study import Study

PLANNED = ("ffn-neurons", "logits", "nf4")


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        name: unique in a plan.
        kind: base, teach, reference, the kind of a stage, or measure.
        pipeline: of its checkpoint; empty for what the whole study shares.
        copies: how many there are: one a seed, or one.
        after: the jobs it waits for.
        demand: what one copy takes.
        state: the checkpoint that it writes, if any.
    """

    name: str
    kind: str
    pipeline: str
    copies: int
    after: tuple[str, ...]
    demand: Demand
    state: State | None = None


def architecture(study: Study, override: str | None = None) -> Architecture:
    """The shape of a study's model: of its `made` entry, or by its name.

    Raises:
        HarnessError: no architecture has that name.
    """
    model = study.config["model"]
    if override is None and "made" in model:
        return shapes.of_made(model["made"])
    return shapes.named(override or model["name"])


def jobs(study: Study, shape: Architecture, assumed: Assumed, root: Path) -> list[Job]:
    """All jobs, each after those that it waits for.

    Args:
        study: the study.
        shape: of its model.
        assumed: what the study file does not say.
        root: folder of the repository, where the task files are.

    Raises:
        HarnessError: a stage leaves a setting to its code's default, or prunes everything.
    """
    base, seeds = State(shape), len(study.seeds)
    reference = evaluation_demands.reference(study, base, assumed)
    planned = [_base(base, seeds), Job("reference", "reference", "", 1, (BASE,), reference)]
    planned += [_teacher(study, token, base, assumed) for token in study.of_kind("distill")]
    states = {BASE: base}
    for node in study.plan.nodes:
        job = _stage(study, node, states[orderings.parent(node)], assumed)
        assert job.state is not None
        states[node] = job.state
        planned.append(job)
    asked = evaluation_demands.tasks(study, assumed, root)
    for row in (r for r in study.plan.rows if r not in study.plan.refused):
        demand = evaluation_demands.measure(study, states[row], base, asked, assumed)
        planned.append(Job(f"measure {row}", "measure", row, seeds, (row, "reference"), demand))
    return planned


def _base(base: State, seeds: int) -> Job:
    # the weights are linked, not copied
    memory = Memory(weights=formulas.dense_bytes(base.shape))
    return Job(BASE, "base", BASE, seeds, (), Demand((), memory, base.bytes, 0), base)


def _teacher(study: Study, token: str, base: State, assumed: Assumed) -> Job:
    longest = setting(study.stages[token], "training.seq_len")
    documents = study.config["splits"]["train"]
    k = setting(study.stages[token], "top_k")
    demand = demands.teach(base, documents, assumed.cut(longest), longest, k)
    return Job(f"teacher {token}", "teach", "", 1, (BASE,), demand)


def setting(stage: Stage, path: str) -> Any:
    """A setting of a stage by its dotted name.

    Raises:
        HarnessError: the study file leaves it to the default of the method's code, which needs
            torch to be read.
    """
    value: Any = stage.settings
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise HarnessError(
                f"stages.{stage.token}.{path} is not in the study file; write it there: a plan "
                f"does not read the defaults of the method {stage.method}"
            )
        value = value[key]
    return value


def _training(stage: Stage, key: str, assumed: Assumed) -> Training:
    steps = setting(stage, f"{key}.steps")
    if not steps:
        return Training(0, 0, 0, 0)
    longest = setting(stage, f"{key}.seq_len")
    batch = setting(stage, f"{key}.batch_size")
    return Training(steps, batch, assumed.cut(longest), longest)


def child(parent: State, stage: Stage) -> State:
    """The checkpoint that a stage makes of a parent.

    Raises:
        HarnessError: the method has no formulas here.
    """
    if stage.method not in PLANNED:
        raise HarnessError(
            f"stages.{stage.token}: the method {stage.method!r} has no formulas in planning.py; "
            f"it plans {', '.join(PLANNED)}"
        )
    kept = None if stage.on_quantized == "dequantize" else parent.double_quant
    if stage.method == "nf4":
        return State(parent.shape, setting(stage, "double_quant"))
    if stage.method == "logits":
        return State(parent.shape, kept)
    ratio, step = setting(stage, "ratio"), setting(stage, "round_to")
    return State(parent.shape.with_ffn(formulas.kept_width(parent.shape.ffn, ratio, step)), kept)


def _stage(study: Study, node: str, parent: State, assumed: Assumed) -> Job:
    stage = study.stages[orderings.last(node)]
    made = child(parent, stage)
    after: tuple[str, ...] = (orderings.parent(node),)
    if stage.method == "ffn-neurons":
        demand = _prune(study, stage, parent, made, assumed)
    elif stage.method == "logits":
        demand = _distill(study, stage, parent, made, assumed)
        after = (*after, f"teacher {stage.token}")
    else:
        demand = demands.quantize(parent, made)
    return Job(node, stage.kind, node, len(study.seeds), after, demand, made)


def _distill(study: Study, stage: Stage, parent: State, made: State, assumed: Assumed) -> Demand:
    documents, k = study.config["splits"]["train"], setting(stage, "top_k")
    tokens = documents * assumed.cut(setting(stage, "training.seq_len"))
    cache = demands.cache_bytes(made.shape, tokens, documents, k)
    return demands.distill(parent, made, _training(stage, "training", assumed), cache)


def _prune(study: Study, stage: Stage, parent: State, made: State, assumed: Assumed) -> Demand:
    batch, longest = setting(stage, "calibration_batch"), setting(stage, "seq_len")
    how = _training(stage, "recovery", assumed)
    documents = study.config["splits"]["calibration"]
    calibration = None
    if setting(stage, "score") != "magnitude":
        length = assumed.cut(longest)
        calibration = demands.forward(parent.shape, "calibration", documents, length, 0)
    return demands.prune(parent, made, calibration, batch, longest, how)
