"""List the jobs of a study and their costs before anything runs.

The jobs are those of `rules/`: one base per seed, one teacher per distilling token, one reference,
one stage per node and seed, one measurement per row and seed. Fetching, and converting or making
the model, are not planned. Pure Python: no torch.
"""

from dataclasses import dataclass
from pathlib import Path

from compression_order import orderings
from compression_order.architecture import demands, shapes, storage
from compression_order.architecture.demands import Assumed, Demand, State
from compression_order.architecture.memory import Memory
from compression_order.architecture.shapes import Architecture
from compression_order.common.errors import HarnessError
from compression_order.methods import formulas
from compression_order.methods.formulas import Context
from compression_order.orderings import BASE, Stage
from compression_order.planning import evaluations
from compression_order.study.file import AnyModel, ModelMade
from compression_order.study.study import Study


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        name: unique in a plan.
        kind: base, teach, reference, the kind of a stage, measure, or answers.
        pipeline: of its checkpoint; empty for what the whole study shares.
        copies: number of copies: one per seed, or one in all.
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
    if override is None:
        return _shape_of(study.file.model)
    return shapes.named(override)


def _shape_of(model: AnyModel) -> Architecture:
    return shapes.of_made(model.made) if isinstance(model, ModelMade) else shapes.named(model.name)


def jobs(study: Study, shape: Architecture, assumed: Assumed, root: Path) -> list[Job]:
    """All jobs, each after those that it waits for.

    Args:
        study: the study.
        shape: of its model.
        assumed: what the study file does not say.
        root: folder of the workflow, where the task files are.

    Raises:
        HarnessError: a stage would remove the whole model, or does not fit its parent.
    """
    base, seeds = State(shape), len(study.seeds)
    reference = evaluations.reference(study, base, assumed)
    planned = [_base(base, seeds), Job("reference", "reference", "", 1, (BASE,), reference)]
    tokens = dict.fromkeys(map(study.cache_token, study.of_kind("distill")))
    planned += [_teacher(study, token, base, assumed) for token in tokens]
    states = {BASE: base}
    for node in study.plan.nodes:
        job = _stage(study, node, states[orderings.parent(node)], assumed)
        assert job.state is not None
        states[node] = job.state
        planned.append(job)
    asked = evaluations.tasks(study, assumed, root)
    for row in (r for r in study.plan.rows if r not in study.plan.refused):
        demand = evaluations.measure(study, states[row], base, asked, assumed)
        planned.append(Job(f"measure {row}", "measure", row, seeds, (row, "reference"), demand))
        if study.judge:
            demand = evaluations.answers(study, states[row], base, assumed)
            planned.append(Job(f"answers {row}", "answers", row, seeds, (row, BASE), demand))
    return planned


def _base(base: State, seeds: int) -> Job:
    memory = Memory(weights=storage.dense_bytes(base.shape))
    return Job(BASE, "base", BASE, seeds, (), Demand((), memory, base.bytes, base.bytes), base)


def teacher_state(study: Study, base: State) -> State:
    """The teacher: a model of its own, or the uncompressed one."""
    entry = study.teacher_model
    return State(_shape_of(entry)) if entry else base


def context(study: Study, stage: Stage, assumed: Assumed) -> Context:
    """What a method's formulas know of the study around a stage."""
    splits = study.file.splits
    number = evaluations.number(study)
    on_gpu = study.gpus > 0
    return Context(stage.on_quantized, splits.train, splits.calibration, on_gpu, number, assumed)


def _teacher(study: Study, token: str, base: State, assumed: Assumed) -> Job:
    stage = study.stages[token]
    its, how, teacher = stage.settings, stage.settings.training, teacher_state(study, base)
    around = context(study, stage, assumed)
    documents, length = formulas.documents(how, around), formulas.length(how, around)
    eight = its.teacher_weights == "int8"
    demand = demands.teach(teacher, documents, length, how.seq_len, its.top_k, eight, around.number)
    demand = demands.cached(demand, study.gpus > 0)
    return Job(f"teacher {token}", "teach", "", 1, (BASE,), demand)


def _at(stage: Stage, fault: HarnessError) -> HarnessError:
    """Name the stage in an error message; some messages name a key of it already."""
    key = f"stages.{stage.token}"
    return fault if str(fault).startswith(key) else HarnessError(f"{key}: {fault}")


def _stage(study: Study, node: str, parent: State, assumed: Assumed) -> Job:
    stage = study.stages[orderings.last(node)]
    around = context(study, stage, assumed)
    try:
        made: State = stage.settings.child(parent, around)
        demand: Demand = stage.settings.demand(parent, made, around)
    except HarnessError as fault:
        raise _at(stage, fault) from None
    teacher = [f"teacher {study.cache_token(stage.token)}"] if stage.kind == "distill" else []
    after = (orderings.parent(node), *teacher)
    return Job(node, stage.kind, node, len(study.seeds), after, demand, made)
