"""Every family of perplexity comparisons of one arm on one text."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from compression_order.findings import (
    chosen,
    controls,
    needs,
    simple_effects,
    trainings,
)
from compression_order.findings.arm import NOT_ASKED, NOT_HERE, Arm
from compression_order.findings.comparisons import Asked, Labelled, Tested, Text
from compression_order.findings.listing import Entry
from compression_order.orderings import Orders
from compression_order.statistics.estimates import Sample


@dataclass(frozen=True)
class OfText:
    """Families of perplexity of one arm on one text.

    Attributes:
        text: the losses, and what all families share.
        arm: the rows.
        primary: the same on the primary text; None: this is the primary text.
    """

    text: Text
    arm: Arm
    primary: "OfText | None"

    @classmethod
    def of(cls, text: str, arm: Arm, primary: "OfText | None") -> "OfText":
        """Take the losses of the arm's rows."""
        return cls(cls._weighted(text, arm, True), arm, primary)

    @staticmethod
    def _weighted(text: str, arm: Arm, as_wanted: bool) -> Text:
        by_tokens = (arm.wanted.weighting == "tokens") == as_wanted
        sample = chosen.sample_of(text, arm.rows, arm.records, arm.unfit, by_tokens)
        return Text.of(sample, arm.wanted.bound)

    @cached_property
    def otherwise(self) -> Text:
        """The same losses with the other weighting of documents."""
        return self._weighted(self.text.sample.text, self.arm, False)

    @cached_property
    def pairs(self) -> list[Tested | None]:
        """Every two orders at full compression, set by set; None without two."""
        return [self.tested(self.text.every_two(orders.rows)) for orders in self.arm.full]

    def tested(self, asked: Asked) -> Tested | None:
        """A family, tested; None where the study has no rows for it."""
        return self.text.tested(asked) if len(asked) else None

    def family(self, tested: Tested | None) -> Entry | str:
        """A family as analysis.json holds it."""
        if tested is None:
            return NOT_HERE
        return tested.family(self.arm.most(self.primary is None))

    def named(self, asked: Sequence[Labelled]) -> Entry | str:
        """A family of contrasts that are given one by one."""
        return self.family(self.tested(self.text.asked(asked)))

    def sensitive(self, asked: Sequence[Labelled]) -> Entry | str:
        """A family whose verdicts stand beside those of other estimates.

        `beside`: with the other weighting of documents; with moderated variances over seeds.
        """
        tested = self.tested(self.text.asked(asked))
        if tested is None:
            return NOT_HERE
        others = {"weighting": self.otherwise.tested(self.otherwise.asked(asked))}
        if tested.effects.seed_sd is not None:
            others["moderated"] = self.text.moderated(self.text.asked(asked))
        family = self.family(tested)
        assert not isinstance(family, str)
        family["entries"] = [
            {**entry, "beside": {name: its.brief(nth) for name, its in others.items()}}
            for nth, entry in enumerate(family["entries"])
        ]
        return family

    def families(self) -> Entry:
        """All families on the text."""
        arm, sample, rows = self.arm, self.text.sample, self.text.rows
        cells = self.named(controls.weaker(controls.grid(rows, arm.known)))
        if not isinstance(cells, str):
            cells["cells"] = controls.weaker_first(list(cells["entries"]))
        every = self.family(self.tested(self.text.every_two(rows))) if arm.wanted.all_pairs else ""
        return {
            "units": sample.units,
            "tokens_a_unit": sample.tokens,
            "left_out": dict(sample.left_out),
            "rows": {row: _row(sample, row) for row in rows},
            "trainings": self.named(trainings.manipulations(rows, arm.known, arm.records)),
            "full_orders": self._full_orders(),
            "smaller_orders": [self._smaller(orders) for orders in arm.smaller],
            "all_rows": every or NOT_ASKED,
            "contrasts": self.sensitive(chosen.declared(arm.wanted.contrasts, rows)),
            "commutators": self.named(self._commutators()),
            "controls": self.named(controls.asked(rows, arm.known)),
            "equal_budget": self.family(self.tested(self._equal_budget())),
            "weaker_first": cells,
        }

    def _full_orders(self) -> list[Entry]:
        """The orders at full compression, with what the effects of pruning may be called."""
        found = [self._full(nth, orders) for nth, orders in enumerate(self.arm.full)]
        bare = {
            token: control
            for why, token, control in controls.twins(self.arm.known)
            if why == controls.RECOVERY
        }
        known = self.arm.known.values()
        recovering = {its.token for its in known if its.kind == "prune" and its.trained}
        for entry in found:
            simple_effects.name_causes(entry, found, bare, recovering, self.arm.kinds)
        return found

    def _full(self, nth: int, orders: Orders) -> Entry:
        """All families of comparisons between orders of the same stages at full compression."""
        arm, text, tested = self.arm, self.text, self.pairs[nth]
        rows = list(chosen.comparable(orders.rows, text.sample))
        there = self.primary and self.primary.pairs[nth]
        return {
            "stages": list(orders.stages),
            "orders": rows,
            "ascending": self._ascending(rows),
            "conversations": [controls.budget(row, arm.known) for row in rows],
            "trained_tokens": [controls.trained_tokens(row, arm.records) for row in rows],
            "pairs": self.family(tested),
            "beside_primary": (
                chosen.agreement(tested, text.rows, there, self.primary.text.rows)
                if tested and there and self.primary
                else None
            ),
            "bytes": [arm.records[row][0].bytes for row in rows],
            "trained_on": trainings.needed(rows, arm.known),
            "simple_effects": self.sensitive(simple_effects.asked(rows, arm.kinds)),
            "teachers_part": self.named(trainings.teachers_part(rows, text.rows, arm.known)),
            "gaps": self._gaps(rows),
            "power": needs.of_text(text.sample, tested.effects) if tested else None,
        }

    def _gaps(self, rows: Sequence[str]) -> list[Entry]:
        """The gap of each predicate, beside the published one."""
        arm, text = self.arm, self.text
        return [
            {
                **entry,
                "published_gap": simple_effects.published_gap(entry, arm.rows, arm.published),
            }
            for entry in simple_effects.gaps(text.sample, rows, arm.kinds, text.draws)
        ]

    def _smaller(self, orders: Orders) -> Entry:
        """Comparisons between orders of the same stages that others hold."""
        rows = list(chosen.comparable(orders.rows, self.text.sample))
        pairs = self.family(self.tested(self.text.every_two(rows)))
        return {"stages": list(orders.stages), "orders": rows, "pairs": pairs}

    def _ascending(self, rows: Sequence[str]) -> list[str]:
        """The rows by perplexity, lowest first."""
        score = dict(zip(self.text.rows, self.text.scores, strict=True))
        return sorted(rows, key=score.__getitem__)

    def _equal_budget(self) -> Asked:
        """Rows of other stages at the same training budget."""

        def spent(first: str, second: str) -> Entry:
            return {"conversations": controls.budget(first, self.arm.known)}

        two = controls.equal_budget(self.text.rows, self.arm.known)
        return self.text.asked_of_two(two, spent)

    def _commutators(self) -> list[Labelled]:
        """Swaps of neighbours, each with two distances between the two models.

        The distances do not depend on which is better: they are of stored losses and answers.
        """
        found = []
        for label, contrast in chosen.commutators(self.text.rows):
            one, other = label["first"], label["second"]
            distances = {
                "mean_absolute_loss_difference": chosen.mean_absolute(self.text.sample, one, other),
                "answers_that_differ": {
                    task: its.differ(one, other) for task, its in self.arm.answers.items()
                },
            }
            found.append(({**label, **distances}, contrast))
        return found


def _row(sample: Sample, row: str) -> Entry:
    """Mean and spread of a row's log perplexity over seeds; no spread with one."""
    means = sample.means(row)
    several = len(means) > 1
    return {
        "log_perplexity": float(means.mean()),
        "log_perplexity_seeds": [float(mean) for mean in means],
        "sd_seeds": float(np.std(means, ddof=1)) if several else None,
    }
