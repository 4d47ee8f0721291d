"""The rows of one arm that are compared, with what every family of comparisons asks of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from compression_order import orderings
from compression_order.findings import (
    flips,
)
from compression_order.findings.controls import Token
from compression_order.findings.flips import Answers
from compression_order.findings.listing import SHORT, SHORT_PRIMARY
from compression_order.orderings import Orders
from compression_order.results import scores
from compression_order.results.guards import Records
from compression_order.results.published import Published
from compression_order.study.settings import Comparisons

NOT_HERE = "not in this study"
NOT_ASKED = "not asked for: a study file asks with `comparisons: {pairs: all}`"


@dataclass(frozen=True)
class Arm:
    """The rows of one arm to compare.

    Attributes:
        rows: in the order of the table, `base` among them.
        records: of the rows of the study that can exist.
        unfit: row -> why it cannot be compared on anything.
        known: the stages, as their manifests record them.
        published: usable figures of the published study, if the study names one.
        wanted: which comparisons.
    """

    rows: Sequence[str]
    records: Records
    unfit: Mapping[str, str]
    known: Mapping[str, Token]
    published: Published | None
    wanted: Comparisons

    @property
    def kinds(self) -> dict[str, str]:
        """Token -> kind of stage."""
        return {token: its.kind for token, its in self.known.items()}

    @cached_property
    def full(self) -> list[Orders]:
        """Orders of the same stages at full compression."""
        return orderings.full_orders(self.rows)

    @cached_property
    def smaller(self) -> list[Orders]:
        """Orders of the same stages that others hold."""
        return [its for its in orderings.several_orders(self.rows) if its not in self.full]

    @cached_property
    def answers(self) -> dict[str, Answers]:
        """The answers of the fit rows to each question set."""
        fit = [row for row in dict.fromkeys([orderings.BASE, *self.rows]) if row not in self.unfit]
        tasks = self.records[orderings.BASE][0].tasks
        return {task: flips.read(task, fit, self.records) for task in tasks}

    @property
    def primary(self) -> str | None:
        """The text that decides."""
        return self.wanted.text or scores.primary_text(self.records[orderings.BASE][0])

    def most(self, primary: bool = False) -> int:
        """Comparisons of every two rows up to which all are listed."""
        if self.wanted.all_pairs:
            return len(self.rows) ** 2
        return SHORT_PRIMARY if primary else SHORT
