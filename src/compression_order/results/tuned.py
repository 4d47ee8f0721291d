"""Choose settings by the dev split, and write every trial with the choice and its reason."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compression_order.common.writing import csv_text, show
from compression_order.results import records
from compression_order.study.tuning import Point, Trials

COLUMNS = ("stage", "settings", "parent", "dev_loss", "mean_dev_loss", "chosen", "reason")


@dataclass(frozen=True)
class Scored:
    """The trials of one stage with what they came to.

    Attributes:
        trials: the points.
        losses: mean loss a token on the dev split, nats, [points][parents]; NaN: it is not finite.
    """

    trials: Trials
    losses: Sequence[Sequence[float]]

    @property
    def means(self) -> list[float]:
        """The mean over the parents of each point; infinite where one is not finite."""
        found = [sum(its) / len(its) for its in self.losses]
        return [mean if math.isfinite(mean) else math.inf for mean in found]

    @property
    def best(self) -> int:
        """The place of the point of lowest mean; the first of equal ones."""
        return min(range(len(self.means)), key=self.means.__getitem__)

    @property
    def chosen(self) -> Point:
        """The settings that are chosen."""
        return self.trials.points[self.best]

    @property
    def reason(self) -> str:
        """Why it is chosen."""
        parents = len(self.trials.grid.parents)
        told = f"lowest mean over {parents} parents" if parents > 1 else "lowest"
        others = [mean for place, mean in enumerate(self.means) if place != self.best]
        if not others:
            return "the only point"
        return f"{told}, by {min(others) - self.means[self.best]:.4f} nats"


def read(results: Path, seed: int, text: str, trials: Trials) -> Scored | None:
    """The trials with their losses; None where one is still to be run.

    Args:
        results: folder of the study that tries.
        seed: its seed.
        text: the chat text.
        trials: the points.
    """
    losses: list[list[float]] = []
    for place in range(len(trials.points)):
        losses.append([])
        for parent in trials.grid.parents:
            row = trials.row(parent, place)
            if not (results / f"seed{seed}/evaluations/{row}/perplexity.json").exists():
                return None
            entry = records.read(results / f"seed{seed}", row, seed).perplexity[text]
            losses[-1].append(float(entry.losses @ entry.counts / entry.counts.sum()))
    return Scored(trials, losses)


def lines(scored: Sequence[Scored]) -> str:
    """Every trial, as CSV."""
    return csv_text(COLUMNS, [line for its in scored for line in _of_stage(its)])


def _of_stage(its: Scored) -> Iterator[list[str]]:
    for place, point in enumerate(its.trials.points):
        for parent, loss in zip(its.trials.grid.parents, its.losses[place], strict=True):
            is_chosen = place == its.best
            yield [
                its.trials.token,
                told(point),
                parent,
                show(loss, 4),
                show(its.means[place], 4),
                "yes" if is_chosen else "no",
                its.reason if is_chosen else "",
            ]


def told(point: Point) -> str:
    """`training.learning_rate=0.0002 training.steps=60`."""
    return " ".join(f"{name}={value}" for name, value in point.items())
