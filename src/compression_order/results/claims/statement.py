"""Data classes for published claims."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Measure:
    """A published metric and its counterpart here.

    Attributes:
        name: in a word, unique in a study.
        metric: its name in published.csv.
        model: the model that it was measured on.
        kind: perplexity (ours: that of a text) or quality (ours: judged scores, else accuracy).
        ours: the text or the question sets to compare with it, if the study has them; else
            the chat text and all question sets.
        excluded: pipeline -> why its figure is not comparable here, whatever its flag.
        instead: question sets to compare with it if a study asks none of `ours`.
    """

    name: str
    metric: str
    model: str
    kind: Literal["perplexity", "quality"]
    ours: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    instead: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """One published statement about how pipelines relate.

    Attributes:
        name: unique in a study.
        statement: a sentence; its figures are in published.csv.
        measure: the name of the measure that it is about.
        ascending: groups of pipelines, lower scores first.
        collapse: whether the gap must also be a collapse: at least half the published one on
            the log scale, that is, at least the square root of the published factor.
        rival: another order of groups; its gap is reported beside, for comparison only.
        alike: largest factor between the parameters of its pipelines where the statement is about
            models of one size; 0 where they may differ.
    """

    name: str
    statement: str
    measure: str
    ascending: tuple[tuple[str, ...], ...]
    collapse: bool = False
    rival: tuple[tuple[str, ...], ...] = ()
    alike: float = 0.0

    @property
    def pipelines(self) -> tuple[str, ...]:
        """All pipelines that the claim needs."""
        groups = (*self.ascending, *self.rival)
        return tuple(dict.fromkeys(name for group in groups for name in group))


@dataclass(frozen=True)
class PublishedStudy:
    """What one study claims.

    Attributes:
        measures: the first of each kind is the study's main one.
        claims: in the order of the verdict.
        one_size: pipelines that must have one compression ratio, whatever the model.
    """

    measures: tuple[Measure, ...]
    claims: tuple[Claim, ...]
    one_size: tuple[str, ...] = ()
