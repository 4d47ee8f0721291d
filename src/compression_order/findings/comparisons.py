"""Families of perplexity contrasts, each corrected as a whole, as analysis.json holds them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy  # its parts are imported at first use

from compression_order import orderings
from compression_order.findings import listing
from compression_order.findings.listing import Entries, Entry, Numbers
from compression_order.statistics import estimates, moderated, multiplicity, paired
from compression_order.statistics.estimates import Coefficients, Effects, Matrix, Sample, Spread
from compression_order.statistics.multiplicity import Bools, Verdicts
from compression_order.statistics.paired import Array

DRAWS = 2000  # of the bootstrap

_ROUNDING = 1e-9  # of coefficients that sum to zero

Labelled = tuple[Entry, Coefficients]  # names of a comparison, and its contrast


@dataclass(frozen=True)
class Asked:
    """The contrasts of a family.

    Attributes:
        label: number of a contrast -> names of the comparison.
        matrix: their coefficients, [contrasts, rows of the sample].
        two: numbers of the first and the second rows, [2, contrasts], in a family of every two
            rows; None in a family that does not grow so fast.
    """

    label: Callable[[int], Entry]
    matrix: Matrix
    two: Numbers | None = None

    def __len__(self) -> int:
        count: int = self.matrix.shape[0]
        return count


@dataclass(frozen=True)
class Tested:
    """A family of contrasts, tested.

    Attributes:
        text: the losses.
        asked: the contrasts.
        effects: their sizes and errors.
        verdicts: corrected for the whole family.
    """

    text: "Text"
    asked: Asked
    effects: Effects
    verdicts: Verdicts

    @cached_property
    def interval(self) -> Array:
        """95% intervals, [contrasts, 2]."""
        return self.effects.interval()

    @cached_property
    def simultaneous(self) -> Array:
        """Intervals that hold together, [contrasts, 2]."""
        return self.effects.interval(multiplicity.simultaneous_level(len(self.asked)))

    def entry(self, nth: int, redrawn: Array) -> Entry:
        """One comparison with its effect, intervals, p-values and verdict.

        Args:
            nth: its number.
            redrawn: interval over the bootstrap draws, [2].
        """
        its, verdicts = self.effects, self.verdicts
        with np.errstate(over="ignore"):
            ratio, *ends = (
                np.exp(of).tolist()
                for of in (its.value[nth], self.interval[nth], self.simultaneous[nth], redrawn)
            )
        return {
            **self.asked.label(nth),
            "log_ratio": float(its.value[nth]),
            "ratio": ratio,
            "se": float(its.se[nth]),
            "df": float(its.df[nth]),
            "se_text": float(its.unit_se[nth]),
            "sd_units": float(its.unit_sd[nth]),
            "sd_seeds": None if its.seed_sd is None else float(its.seed_sd[nth]),
            **verdicts.of(nth),
            "equal": bool(self.equal[nth]),
            **self._certainty(nth),
            **dict(zip(("interval", "simultaneous", "bootstrap_text"), ends, strict=True)),
        }

    @cached_property
    def equal(self) -> Bools:
        """Whether the simultaneous interval lies within the bound: shown to be equal.

        Two one-sided tests, each at half the level that an equivalence test needs (Schuirmann,
        Journal of Pharmacokinetics and Biopharmaceutics 15, 1987): never too liberal.
        """
        within: Bools = np.abs(self.simultaneous).max(axis=1) < np.log(self.text.bound)
        return within

    def _certainty(self, nth: int) -> Entry:
        """Whether every seed has the sign of a separable difference; nothing with one seed."""
        if self.effects.seed_sd is None:
            return {"seeds_agreeing": None, "certain": None}
        agreeing = int(self.effects.agreeing[nth])
        certain = bool(self.verdicts.separable[nth]) and agreeing == self.text.sample.seeds
        return {"seeds_agreeing": agreeing, "certain": certain}

    def brief(self, nth: int) -> Entry:
        """What one comparison comes to, to stand beside another estimate of it."""
        value, ends = self.effects.value[nth], self.simultaneous[nth]
        with np.errstate(over="ignore"):
            ratio, interval = float(np.exp(value)), np.exp(ends).tolist()
        separable, equal = bool(self.verdicts.separable[nth]), bool(self.equal[nth])
        return {
            "ratio": ratio,
            "simultaneous": interval,
            "separable": separable,
            "equal": equal,
        }

    def family(self, most: int) -> Entry:
        """The family as analysis.json holds it.

        Args:
            most: comparisons of every two rows up to which all are listed.
        """
        chosen = np.arange(len(self.asked))
        if self.asked.two is not None and len(self.asked) > most:
            values, found = self.effects.value, self.verdicts.separable
            scores, ends = self.text.scores, self.simultaneous
            chosen = listing.in_short(self.asked.two, scores, values, found, ends)
        redrawn = self.text.redrawn(self.asked.matrix[chosen])
        entries = Entries(lambda at: self.entry(chosen[at], redrawn[at]), len(chosen))
        return listing.family(self.verdicts, entries)


@dataclass(frozen=True)
class Text:
    """The losses of rows on one text, with what all families on it share.

    Attributes:
        sample: the losses.
        drawn: log perplexity of every row, the mean over seeds, in each bootstrap draw,
            [rows, draws].
        bound: ratio up to which two perplexities count as equal.
    """

    sample: Sample
    drawn: Array
    bound: float

    @classmethod
    def of(cls, sample: Sample, bound: float) -> "Text":
        """Redraw the units of all rows at once."""
        means = sample.stacked.mean(axis=1)
        return cls(sample, paired.bootstrap_means(means, sample.weights, DRAWS), bound)

    @cached_property
    def rows(self) -> list[str]:
        """The rows that can be compared."""
        return list(self.sample.losses)

    @cached_property
    def scores(self) -> Array:
        """Log perplexity of every row, the mean over seeds, [rows]."""
        means: Array = self.sample.seed_means.mean(axis=1)
        return means

    @cached_property
    def draws(self) -> Mapping[str, Array]:
        """The draws of each row by name."""
        return dict(zip(self.rows, self.drawn, strict=True))

    @cached_property
    def _spreads(self) -> tuple[Numbers, list[Spread]]:
        """The number of each row's set of stages, and the spread of every set."""
        sets: dict[tuple[str, ...], list[int]] = {}
        for nth, row in enumerate(self.rows):
            sets.setdefault(orderings.stages_of(row), []).append(nth)
        number = np.empty(len(self.rows), dtype=np.intp)
        for nth, its in enumerate(sets.values()):
            number[its] = nth
        unknown = Spread(np.nan, np.nan)
        means = self.sample.seed_means
        return number, [estimates.pooled(means[its]) or unknown for its in sets.values()]

    def spread(self, asked: Matrix) -> Spread:
        """Seed spread of each contrast, pooled over all orders of its rows' stages.

        A difference between contrasts of several sets of stages has the mean spread of the sets,
        weighted by squared coefficients, with Satterthwaite's degrees. NaN where a contrast
        compares rows of one set with rows of another.
        """
        number, spreads = self._spreads
        variance, df = np.array(spreads, dtype=np.float64).T
        membership = scipy.sparse.csr_array(
            (np.ones(len(number)), (np.arange(len(number)), number))
        )
        sums, squares = asked @ membership, asked.power(2) @ membership
        across = np.abs(sums).max(axis=1).toarray().ravel() > _ROUNDING
        share = squares.multiply(1 / squares.sum(axis=1)[:, None]).tocsr()
        of_all = share @ np.nan_to_num(variance)
        unknown = (share @ np.isnan(variance).astype(float) > 0) | across
        with np.errstate(divide="ignore", invalid="ignore"):
            degrees = of_all**2 / (share.power(2) @ np.nan_to_num(variance**2 / df))
        return Spread(np.where(unknown, np.nan, of_all), np.where(unknown, np.nan, degrees))

    def redrawn(self, asked: Matrix) -> Array:
        """Intervals of contrasts over the bootstrap draws, [contrasts, 2]."""
        units = len(self.sample.weights)
        parts = [
            paired.expanded_intervals(asked[part] @ self.drawn, units)
            for part in estimates.blocks(asked.shape[0])
        ]
        return np.concatenate(parts)

    def tested(self, asked: Asked) -> Tested:
        """Every comparison of a family, corrected as a whole."""
        return self._tested(asked, self.spread(asked.matrix))

    def moderated(self, asked: Asked) -> Tested:
        """The same, with the seed spread of each contrast drawn towards that of the family."""
        own = estimates.contrasts(self.sample, asked.matrix)
        assert own.seed_sd is not None  # only several seeds spread
        squares = asked.matrix.power(2).sum(axis=1)
        drawn = moderated.moderated(own.seed_sd**2 / squares, self.sample.seeds - 1)
        return self._tested(asked, drawn)

    def _tested(self, asked: Asked, spread: Spread) -> Tested:
        effects = estimates.contrasts(self.sample, asked.matrix, spread)
        return Tested(self, asked, effects, multiplicity.corrected(effects.p))

    def asked(self, its: Sequence[Labelled]) -> Asked:
        """A family of contrasts that are given one by one."""
        labels = [label for label, _ in its]
        return Asked(labels.__getitem__, estimates.matrix(self.rows, [c for _, c in its]))

    def asked_of_two(
        self, two: Numbers, more: Callable[[str, str], Entry] = lambda first, second: {}
    ) -> Asked:
        """A family of many comparisons of two rows.

        Args:
            two: numbers of the first and the second rows, [2, comparisons].
            more: first and second row -> what the entry says besides their names.
        """

        def label(nth: int) -> Entry:
            first, second = (self.rows[at] for at in two[:, nth])
            return {"first": first, "second": second, **more(first, second)}

        return Asked(label, estimates.pairs(two, len(self.rows)), two)

    def every_two(self, rows: Sequence[str]) -> Asked:
        """Every two of the rows that can be compared, the first over the second."""
        place = {row: nth for nth, row in enumerate(self.rows)}
        numbers = np.array([place[row] for row in rows if row in place], dtype=np.intp)
        return self.asked_of_two(numbers[np.array(np.triu_indices(len(numbers), 1))])
