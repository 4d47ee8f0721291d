"""The study that tries settings: every value of a grid, on every parent, scored on the dev split.

It is a study like any other, with one seed that the study itself does not use, and one variant of a
stage for each point of its grid. Pure Python.
"""

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compression_order import orderings
from compression_order.common.errors import HarnessError
from compression_order.study.settings import Grid, Tuning
from compression_order.study.study import Study

Number = int | float
Point = Mapping[str, Number]  # dotted setting -> value
FURTHEST = 4  # values that may be added beyond an end of a grid


@dataclass(frozen=True)
class Trials:
    """The points that are tried for one stage.

    Attributes:
        token: the stage.
        grid: as the study declares it.
        points: in the order in which they came in; the place of one is in its token.
    """

    token: str
    grid: Grid
    points: tuple[Point, ...]

    @classmethod
    def of(cls, token: str, grid: Grid) -> "Trials":
        """Every combination of the declared values."""
        values = itertools.product(*grid.settings.values())
        points = tuple(dict(zip(grid.settings, its, strict=True)) for its in values)
        return cls(token, grid, points)

    def variant(self, place: int) -> str:
        """The token of a point."""
        return f"{orderings.stem(self.token)}.try{place}"

    def row(self, parent: str, place: int) -> str:
        """The pipeline that tries a point on a parent."""
        return orderings.join([*orderings.split(parent), self.variant(place)])

    def rows(self) -> list[str]:
        """Every pipeline that is tried."""
        return [
            self.row(parent, place)
            for place in range(len(self.points))
            for parent in self.grid.parents
        ]

    def beyond(self, chosen: Point) -> "Trials | None":
        """The same with one more value where the choice lies at an end of the tried ones.

        None where it lies within, or where the end has been moved often enough.
        """
        for name, declared in self.grid.settings.items():
            tried = sorted({point[name] for point in self.points})
            if len(declared) < 2 or chosen[name] not in (tried[0], tried[-1]):
                continue
            if len(tried) >= len(declared) + FURTHEST:
                continue
            upwards = chosen[name] == tried[-1]
            near, end = (tried[-2], tried[-1]) if upwards else (tried[1], tried[0])
            added = {**chosen, name: _next(near, end)}
            if added not in self.points:
                return Trials(self.token, self.grid, (*self.points, added))
        return None


def _next(near: Number, end: Number) -> Number:
    """The next value of a geometric row, to two digits; a whole number stays one."""
    value = end * end / near
    if isinstance(end, int):
        return max(1, round(value))
    return float(f"{value:.1e}")


def required(asked: Study, source: str) -> Tuning:
    """The section `tuning` of a study, checked against the rest of it.

    Raises:
        HarnessError: there is none, or it names what the study does not have.
    """
    found = asked.file.tuning
    if found is None:
        raise HarnessError(
            f"{source}: the key 'tuning' is missing, so there is nothing to choose; add the grid "
            "of each stage there"
        )
    if found.seed in asked.seeds:
        raise HarnessError(
            f"{source}: tuning.seed: {found.seed} is a seed of the study, which would then be "
            "scored on what its settings were chosen with; choose another"
        )
    for token, grid in found.grid.items():
        key = f"{source}: tuning.grid.{token}"
        if token not in asked.stages:
            raise HarnessError(f"{key}: no such stage; use one of {', '.join(asked.stages)}")
        for parent in grid.parents:
            for other in orderings.split(parent):
                if other not in asked.stages:
                    raise HarnessError(
                        f"{key}.parents: {parent!r} names the stage {other!r}, which `stages` does "
                        "not define; correct it"
                    )
        for name in grid.settings:
            _value(asked.file.stages[token], name, key)
    return found


def _value(entry: Mapping[str, Any], name: str, key: str) -> Any:
    inside: Any = entry
    for part in name.split("."):
        if not isinstance(inside, Mapping) or part not in inside:
            raise HarnessError(
                f"{key}.settings: the stage does not set {name!r}; write it there first, and a "
                "grid of values here"
            )
        inside = inside[part]
    return inside


def study_of(asked: Study, tuning: Tuning, trials: Sequence[Trials]) -> dict[str, Any]:
    """The study that tries them, as a file holds it."""
    made: dict[str, Any] = asked.file.model_dump(exclude_none=True, exclude={"tuning"})
    for its in trials:
        for place, point in enumerate(its.points):
            entry = copy.deepcopy(made["stages"][its.token])
            for name, value in point.items():
                *folders, last = name.split(".")
                inside = entry
                for folder in folders:
                    inside = inside[folder]
                inside[last] = value
            made["stages"][its.variant(place)] = entry
    nothing: dict[str, Any] = {"windows": [], "tasks": {}, "hub_tasks": {}, "hub_shots": {}}
    for unused in ("judge", "serving", "published", "comparisons"):
        made.pop(unused, None)
    return {
        **made,
        "study": f"{asked.name}-tuning",
        "seeds": [tuning.seed],
        "splits": {**made["splits"], "draw": "per-seed"},
        "orderings": [row for its in trials for row in its.rows()],
        "evaluations": {**made["evaluations"], **nothing, "part": "dev"},
    }
