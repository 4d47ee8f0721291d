"""List the jobs of a study and their costs before anything runs.

The jobs are those of `rules/`: one base per seed, one teacher per distilling token (and per seed
where a pipeline teaches), one reference, one stage per node and seed, one measurement per row and
seed. Fetching, and converting or making
the model, are not planned. Pure Python: no torch.
"""

from collections.abc import Mapping
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
        each_seed: whether there is one copy per seed.
    """

    name: str
    kind: str
    pipeline: str
    copies: int
    after: tuple[str, ...]
    demand: Demand
    state: State | None = None
    each_seed: bool = True


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
    shared = Job("reference", "reference", "", 1, (BASE,), reference, each_seed=False)
    made = _Jobs(study, base, assumed)
    made.add_shared_teachers()
    for node in study.plan.nodes:
        made.add(node)
    planned = [made.first, shared, *made.jobs]
    states = made.states
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


class _Jobs:
    """The stages of a study and the passes of its teachers, each after what it waits for."""

    def __init__(self, study: Study, base: State, assumed: Assumed) -> None:
        self.study, self.assumed, self.jobs = study, assumed, list[Job]()
        self.states, self.planned = {BASE: base}, set[str]()
        self.first = _base(base, len(study.seeds))

    def add(self, node: str) -> None:
        """Plan a pipeline, unless it is planned already, and all that it waits for."""
        if node in self.states:
            return
        parent = orderings.parent(node)
        self.add(parent)
        stage, study = self.study.stages[orderings.last(node)], self.study
        teacher = [self._teacher(stage)] if stage.kind == "distill" else []
        around = context(study, stage, self.assumed, self.states)
        try:
            made: State = stage.settings.child(self.states[parent], around)
            demand: Demand = stage.settings.demand(self.states[parent], made, around)
        except HarnessError as fault:
            raise _at(stage, fault) from None
        after = (parent, *teacher)
        self.states[node] = made
        self.jobs.append(Job(node, stage.kind, node, len(study.seeds), after, demand, made))

    def add_shared_teachers(self) -> None:
        """Plan the passes that wait for no stage."""
        used = {orderings.last(node) for node in self.study.plan.nodes}
        for token in self.study.of_kind("distill"):
            if token in used and token not in self.study.taught:
                self._teacher(self.study.stages[token])

    def _teacher(self, stage: Stage) -> str:
        """Plan the pass of a distillation's teacher; the name of its job."""
        study, token = self.study, self.study.cache_token(stage.token)
        name = f"teacher {token}"
        if name in self.planned:
            return name
        self.planned.add(name)
        pipeline = study.taught.get(token, BASE)
        self.add(pipeline)
        its, how = study.stages[token].settings, study.stages[token].settings.training
        around = context(study, study.stages[token], self.assumed, self.states)
        documents = formulas.documents(how, around)
        own = study.teacher_model(token) is None
        another = study.teacher_folder(token, "") is not None
        demand = demands.teach(
            teacher_state(study, token, self.states),
            self.states[BASE].shape,
            documents,
            formulas.length(how, around),
            how.seq_len,
            its.top_k,
            its.teacher_weights == "int8" and not own,
            around.number,
            min(documents, demands.SAMPLE) if its.top_k and another else 0,
            own,
        )
        demand = demands.cached(demand, study.gpus > 0)
        after = tuple(dict.fromkeys((BASE, pipeline)))
        each = study.of_each_seed(token)
        copies = len(study.seeds) if each else 1
        self.jobs.append(Job(name, "teach", "", copies, after, demand, each_seed=each))
        return name


def teacher_state(study: Study, token: str, states: Mapping[str, State]) -> State:
    """A distillation's teacher: a model of its own, or a checkpoint of the study.

    Args:
        study: the study.
        token: of the distillation.
        states: of the pipelines that are planned.
    """
    entry = study.teacher_model(token)
    return State(_shape_of(entry)) if entry else states[study.taught.get(token, BASE)]


def context(study: Study, stage: Stage, assumed: Assumed, states: Mapping[str, State]) -> Context:
    """What a method's formulas know of the study around a stage."""
    splits = study.file.splits
    number = evaluations.number(study)
    on_gpu = study.gpus > 0
    teaches = stage.kind == "distill"
    shape = teacher_state(study, stage.token, states).shape if teaches else None
    return Context(
        stage.on_quantized,
        {"train": splits.train, "recovery": splits.recovery},
        splits.calibration,
        on_gpu,
        number,
        assumed,
        shape,
    )


def _at(stage: Stage, fault: HarnessError) -> HarnessError:
    """Name the stage in an error message; some messages name a key of it already."""
    key = f"stages.{stage.token}"
    return fault if str(fault).startswith(key) else HarnessError(f"{key}: {fault}")
