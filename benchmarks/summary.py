"""Medians, ratios, and the two rules: programs agree on what they compute, ratios do not fall."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.ways import OURS, WAYS, Way, find

Measurement = Mapping[str, Any]
Section = dict[str, dict[str, Any]]  # comparison -> way -> its numbers

LEAST = 0.75  # of a stored ratio: below it the ratio has fallen by a quarter
# what a summary keeps of a way -> from a measurement
QUANTITIES: Mapping[str, Callable[[Measurement], float]] = {
    "per_cpu_s": lambda m: m["units"] / m["cpu_s"],
    "per_s": lambda m: m["units"] / m["wall_s"],
    "peak_bytes": lambda m: m["peak_bytes"],
    "share_of_peak": lambda m: m["flop"] / m["cpu_s"] / m["peak"][m["arithmetic"]],
}
# what it keeps beside another program -> from ours and from the other
RATIOS: Mapping[str, Callable[[Measurement, Measurement], float]] = {
    "speed": lambda ours, other: _speed(ours, "cpu_s") / _speed(other, "cpu_s"),
    "speed_by_clock": lambda ours, other: _speed(ours, "wall_s") / _speed(other, "wall_s"),
    "memory": lambda ours, other: ours["peak_bytes"] / other["peak_bytes"],
}


def _speed(measured: Measurement, seconds: str) -> float:
    return float(measured["units"] / measured[seconds])


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, lowest and highest, to four significant digits."""
    found = sorted(values)
    named = {"median": median(found), "low": found[0], "high": found[-1]}
    return {name: float(f"{value:.4g}") for name, value in named.items()}


def summarize(measurements: Sequence[Measurement]) -> Section:
    """What all rounds say together.

    A ratio is taken within a round, where machine and moment are the same, and its median over
    the rounds.
    """
    section: Section = {}
    by_way: dict[tuple[str, str], dict[int, Measurement]] = defaultdict(dict)
    for measured in measurements:
        by_way[measured["comparison"], measured["way"]][measured["round"]] = measured
    for (comparison, name), rounds in by_way.items():
        entry: dict[str, Any] = {"rounds": len(rounds), "arithmetic": arithmetic_of(rounds)}
        for quantity, of in QUANTITIES.items():
            if quantity != "share_of_peak" or all(m["flop"] for m in rounds.values()):
                entry[quantity] = spread(map(of, rounds.values()))
        ours = by_way[comparison, OURS]
        shared = sorted(rounds.keys() & ours.keys())
        if name != OURS and shared:
            for ratio, between in RATIOS.items():
                entry[ratio] = spread(between(ours[r], rounds[r]) for r in shared)
        section.setdefault(comparison, {})[name] = entry
    return section


def arithmetic_of(rounds: Mapping[int, Measurement]) -> str:
    """What the products of a way compute in; the same in every round."""
    (found,) = {m["arithmetic"] for m in rounds.values()}
    return str(found)


def disagreement(measurements: Sequence[Measurement], references: Mapping[str, float]) -> str:
    """A sentence about the first program that computes something else; empty where all agree.

    Args:
        measurements: of any rounds.
        references: what must be computed, where that is known beforehand; elsewhere ours is the
            reference.
    """
    known = dict(references)
    for measured in measurements:
        if measured["way"] == OURS:
            known.setdefault(_way(measured).value, measured["value"])
    for measured in measurements:
        way = _way(measured)
        wanted, found = known.get(way.value), measured["value"]
        if wanted is not None and not abs(found / wanted - 1) <= way.tolerance:
            return (
                f"{way.comparison}: {way.label} computes {found:.6g} where {wanted:.6g} is wanted "
                f"(within {way.tolerance:.1%}); a program that computes something else is no peer: "
                f"mend benchmarks/programs, function {way.function}"
            )
    return ""


def _way(measured: Measurement) -> Way:
    return find(measured["comparison"], measured["way"])


def fallen(found: Section, stored: Section) -> dict[str, dict[str, str]]:
    """The ratios that are less than three quarters of the stored ones, by comparison and way.

    Speed is ours over the other's, so less is worse; of memory it is the reverse. Ratios that
    were not stored are passed over.

    Returns:
        Comparison -> way -> what has fallen, in words.
    """
    worse: dict[str, dict[str, str]] = {}
    for comparison, ways in found.items():
        for name, entry in ways.items():
            before = stored.get(comparison, {}).get(name, {})
            for ratio, better_when in (("speed", 1), ("memory", -1)):
                if ratio in entry and ratio in before:
                    new, old = entry[ratio]["median"], before[ratio]["median"]
                    if (new / old) ** better_when < LEAST:
                        words = f"{ratio} of ours to {find(comparison, name).label}"
                        told = f"the ratio in {words} is {new:.2f}, and was {old:.2f}"
                        worse.setdefault(comparison, {}).setdefault(name, told)
    return worse


def lines(section: Section) -> list[list[str]]:
    """The ratios as rows of a table for the terminal, the header first."""
    rows = [["beside", "speed", "by the clock", "memory"]]
    for way in WAYS:
        entry = section.get(way.comparison, {}).get(way.name, {})
        if "speed" in entry:
            values = [f"{entry[ratio]['median']:.2f}x" for ratio in RATIOS]
            rows.append([f"{way.comparison}: {way.label}", *values])
    return rows
