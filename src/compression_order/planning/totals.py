"""Sum the costs of making the checkpoints of a study along each ordering.

Each ordering has two sums. `added` is its last stage alone: what the ordering adds to a study that
has all other checkpoints. `alone` is its cost with nothing shared: the base, each of its stages,
and one pass of the teacher per distillation. Over all orderings, `added` plus the base and the
teacher's passes, each once, is the cost of the study; `alone` is its cost without shared prefixes
and without the teacher's cache. Evaluations are in neither sum.

Seconds and memory are measured (`measured.py`). Tokens, operations and bytes written (weights and
teacher outputs, temporary files included) are planned. All figures are for one seed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from compression_order import orderings
from compression_order.planning.graph import Job
from compression_order.planning.measured import Measured
from compression_order.study.study import Study


@dataclass(frozen=True)
class Taken:
    """Cost of one job, or of several in sequence.

    Attributes:
        jobs: how many.
        tokens: that passed through a model, planned.
        flops: operations, planned.
        written: bytes of checkpoints and teacher outputs, planned.
        wall_s: seconds, None where a job has no record.
        work_s: of these, without starting and loading, likewise.
        peak_bytes: the largest peak of one of them, likewise.
    """

    jobs: int = 0
    tokens: int = 0
    flops: int = 0
    written: int = 0
    wall_s: float | None = 0.0
    work_s: float | None = 0.0
    peak_bytes: float | None = 0.0

    def __add__(self, other: "Taken") -> "Taken":
        peaks = (self.peak_bytes, other.peak_bytes)
        return Taken(
            self.jobs + other.jobs,
            self.tokens + other.tokens,
            self.flops + other.flops,
            self.written + other.written,
            _sum(self.wall_s, other.wall_s),
            _sum(self.work_s, other.work_s),
            None if None in peaks else max(p for p in peaks if p is not None),
        )


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def summed(parts: Sequence[Taken]) -> Taken:
    """Add the costs of several jobs; no jobs cost nothing."""
    return sum(parts, start=Taken())


def of_job(job: Job, took: Measured | None) -> Taken:
    """One copy of a job."""
    demand = job.demand
    planned = (1, demand.tokens, demand.flops, demand.written)
    if took is None:
        return Taken(*planned, None, None, None)
    return Taken(*planned, took.wall_s, took.work_s, took.peak_bytes)


@dataclass(frozen=True)
class Made:
    """Costs of the orderings of a study.

    Attributes:
        added: ordering -> its last stage.
        alone: ordering -> everything, nothing shared.
        shared: the base, each pass of a teacher, and pipelines that only teach, which a study
            needs once.
    """

    added: Mapping[str, Taken]
    alone: Mapping[str, Taken]
    shared: Taken

    @property
    def study(self) -> Taken:
        """Cost of all orderings as the study makes them: every prefix once, one teacher's cache."""
        return self.shared + summed(list(self.added.values()))

    @property
    def unshared(self) -> Taken:
        """All orderings, each by itself."""
        return summed(list(self.alone.values()))


def of(study: Study, planned: Sequence[Job], took: Mapping[str, Measured]) -> Made:
    """The sums of a study's orderings.

    Args:
        study: the study.
        planned: its jobs.
        took: of those that have run.
    """
    each = {job.name: of_job(job, took.get(job.name)) for job in planned}
    nodes = [node for node in study.plan.nodes if node in study.plan.rows]
    needs = {node: list(_needs(study, node)) for node in nodes}
    alone = {node: summed([each[name] for name in names]) for node, names in needs.items()}
    # a study may define a distillation, and plan its teacher, that no ordering uses
    needed = {orderings.BASE}.union(*needs.values()) - {*nodes}
    shared = summed([each[job.name] for job in planned if job.name in needed])
    return Made({node: each[node] for node in nodes}, alone, shared)


def _needs(study: Study, pipeline: str) -> Iterator[str]:
    """List the jobs that make one pipeline alone; a teacher's pass before each distillation.

    A pipeline that teaches is made once, and not again where it is a prefix.
    """
    made = {orderings.BASE}
    yield orderings.BASE
    distills = study.of_kind("distill")
    for prefix in orderings.prefixes(pipeline):
        token = orderings.last(prefix)
        if token in study.taught:
            before = [job for job in _needs(study, study.taught[token]) if job not in made]
            made.update(before)
            yield from before
        if token in distills:
            yield f"teacher {study.cache_token(token)}"
        if prefix not in made:
            made.add(prefix)
            yield prefix
