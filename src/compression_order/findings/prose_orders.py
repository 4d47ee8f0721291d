"""The parts of findings.md about orders, swaps and controls, on one text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compression_order.common import writing
from compression_order.common.writing import grid
from compression_order.findings import wording

Entry = Mapping[str, Any]
MIB = 2**20
LIKE_SIZE = 1.01  # models whose sizes differ by less are ranked
MATRIX = 24  # orders that a matrix can show: those of four stages
NAMED = 10  # orders that a sentence names where there are more
NO_KL = (
    "The distances given are the mean absolute difference of stored losses and the share of stored "
    "answers that differ; the KL divergence between the two needs the outputs of both, which "
    "`make commutators` computes (`commutators.csv`)."
)


def separation(orders: Entry, title: str, unclear: str) -> Iterator[str]:
    """State whether orders of the same stages differ and which is best, with the matrix.

    Args:
        orders: as analysis.json holds them.
        title: of the paragraph.
        unclear: why a difference may not be one of order; empty: it is.
    """
    family = orders["pairs"]
    if isinstance(family, str):
        yield f"{title}: {family}, fewer than two orders can be compared."
        return
    entries = [wording.upwards(entry) for entry in family["entries"]]
    yield f"**{title}: {wording.share_separable(family)}.** {_whether(entries, unclear)}"
    ascending = orders["ascending"]
    yield _sizes(orders) or _best(ascending, entries)
    by_holm = family["holm_only"]
    if by_holm:
        yield (
            f"Holm's step-down test alone would separate {writing.count(by_holm, 'pair')} more; no "
            "simultaneous interval goes with it, so they are not counted."
        )
    if len(ascending) <= MATRIX:
        yield _matrix(ascending, entries)
    else:
        yield _ladder(ascending, entries)


def _sizes(orders: Entry) -> str:
    """Say that models of unequal size are not ranked; nothing where they are equal."""
    least, most = min(orders["bytes"]), max(orders["bytes"])
    if most <= LIKE_SIZE * least:
        return ""
    return (
        f"These models take {least / MIB:,.1f} to {most / MIB:,.1f} MiB: orders of unequal size "
        "are compared here, not ranked."
    )


def _whether(entries: Sequence[Entry], unclear: str) -> str:
    """Headline: the order matters, or the largest effect that it can still have."""
    if entries and all(entry["equal"] for entry in entries):
        return "On this text all these orders are equal within the bound."
    found = [entry for entry in entries if entry["separable"]]
    if found:
        most = max(found, key=lambda entry: float(entry["log_ratio"]))
        headline = "These orders differ" if unclear else "The order matters"
        beside = f" This is not called an effect of order: {unclear}." if unclear else ""
        return (
            f"{headline} on this text: {most['first']} has {wording.times(most['ratio'])} "
            f"times the perplexity of {most['second']} ({wording.between(most['simultaneous'])})."
            f"{beside}"
        )
    ends = [end for entry in entries for end in wording.upwards(entry)["simultaneous"]]
    if any(end is None for end in ends):
        return "No interval can be given, so nothing is said about the order."
    most_of_all = max(max(end, 1 / end) for end in ends)
    return (
        "The study does not show that the order matters on this text; the intervals leave out "
        f"ratios above {wording.times(most_of_all)} between any two orders."
    )


def _best(ascending: Sequence[str], entries: Sequence[Entry]) -> str:
    lowest = ascending[0]
    unclear = {
        entry["first"] if entry["second"] == lowest else entry["second"]
        for entry in entries
        if lowest in (entry["first"], entry["second"]) and not entry["separable"]
    }
    if not unclear:
        return f"{lowest} has the lowest perplexity, separable from every other order."
    beside = [row for row in ascending if row in unclear]
    told = (
        writing.listed(beside)
        if len(beside) < MATRIX
        else f"{', '.join(beside[:NAMED])} and {len(beside) - NAMED} more orders"
    )
    return (
        f"No best order can be named: {lowest} has the lowest perplexity here, but it is not "
        f"separable from {told}."
    )


def _matrix(ascending: Sequence[str], entries: Sequence[Entry]) -> str:
    """Perplexity of the row over that of the column, with its simultaneous interval."""
    found = {(entry["first"], entry["second"]): entry for entry in entries}
    found |= {(e["first"], e["second"]): e for e in map(wording.turned, entries)}
    lines = [["over", *ascending[:-1]]]
    for nth, row in enumerate(ascending[1:], 1):
        cells = [_cell(found[row, column]) for column in ascending[:nth]]
        lines.append([row, *cells, *[""] * (len(ascending) - 1 - nth)])
    return grid(lines)


def _ladder(ascending: Sequence[str], entries: Sequence[Entry]) -> str:
    """Perplexity of the lowest orders and of the highest one over the lowest."""
    lowest, *others = ascending
    found = {entry["first"]: entry for entry in entries if entry["second"] == lowest}
    shown = [*others[: MATRIX - 1], others[-1]]
    lines = [["over", lowest], *([row, _cell(found[row])] for row in shown)]
    return f"The {MATRIX} lowest of {len(ascending)} orders, and the highest:\n\n{grid(lines)}"


def _cell(entry: Entry) -> str:
    ratio = wording.times(entry["ratio"])
    told = f"**{ratio}**" if entry["separable"] else ratio
    return f"{told} ({wording.between(entry['simultaneous'])})"


def commutators(family: Entry | str) -> str:
    """Describe the effect of swapping two neighbouring stages."""
    if isinstance(family, str):
        return f"Swapping two neighbouring stages: {family}."
    header = ["first", "second", "first over second", "verdict", "mean abs. loss difference"]
    lines = [[*header, "answers that differ"]]
    shown, remark = wording.longest(family["entries"], wording.effect)
    for entry in shown:
        ratio = f"{wording.times(entry['ratio'])} ({wording.between(entry['simultaneous'])})"
        shares = entry["answers_that_differ"].values()
        flips = f"{min(shares):.1%} to {max(shares):.1%}" if shares else "n/a"
        distance = f"{entry['mean_absolute_loss_difference']:.4f}"
        pair = [entry["first"], entry["second"], ratio, wording.verdict(entry), distance, flips]
        lines.append(pair)
    told = wording.share_separable(family, "swap")
    return (
        f"Of two neighbouring stages that change places, {told}{remark}. {NO_KL}\n\n{grid(lines)}"
    )


def gaps(orders: Entry) -> Iterator[str]:
    """Describe the gap of each predicate, which a published study claims."""
    for gap in orders["gaps"]:
        yield f"- {_gap(gap)}"


def _gap(gap: Entry) -> str:
    low, high = gap["gap_interval_text"]
    here = (
        f"Lowest perplexity of the orders that {gap['predicate']} ({gap['lowest_where_it_holds']}) "
        f"over the highest of the others ({gap['highest_where_not']}): {wording.times(gap['gap'])} "
        f"({wording.between((low, high))} over text alone)"
    )
    published = gap["published_gap"]
    beside = f"; published: {wording.times(published)}" if published else ""
    if low is None or low <= 1 <= high:
        told = "whether every order of the first is above every other one is not decided"
    elif high < 1:
        told = "not every order of the first is above every other one"
    elif gap["seeds_without_overlap"] < gap["seeds"]:
        apart = f"{gap['seeds_without_overlap']} of {gap['seeds']} seeds"
        told = f"every order of the first is above every other one in {apart} alone"
    else:
        told = "every order of the first is above every other one"
    return f"{here}{beside}; {told}."


def controls(family: Entry | str) -> str:
    """Effect of what a control leaves out, row by row."""
    if isinstance(family, str):
        return (
            "Control arms (P without recovery, fine-tuning on as many conversations as KD, KD with "
            f"alpha 0): {family}."
        )
    header = ["leaves out", "row", "control", "row over control", "verdict"]
    lines = [[*header, "conversations trained on"]]
    shown, remark = wording.longest(family["entries"], wording.effect)
    for entry in shown:
        ratio = f"{wording.times(entry['ratio'])} ({wording.between(entry['simultaneous'])})"
        spent = " and ".join(f"{n:,}" for n in entry["conversations"])
        pair = [entry["leaves_out"], entry["with"], entry["control"], ratio]
        lines.append([*pair, wording.verdict(entry), spent])
    return f"Control arms: {wording.share_separable(family)}{remark}.\n\n{grid(lines)}"


def equal_budget(family: Entry | str) -> str:
    """Describe rows of different stages at the same training budget."""
    if isinstance(family, str):
        return f"Other stages, compressed alike and trained on as many conversations: {family}."
    lines = [["first", "second", "conversations", "first over second", "verdict"]]
    shown, remark = wording.longest(family["entries"], wording.effect)
    for entry in shown:
        ratio = f"{wording.times(entry['ratio'])} ({wording.between(entry['simultaneous'])})"
        pair = [entry["first"], entry["second"], f"{entry['conversations']:,}"]
        lines.append([*pair, ratio, wording.verdict(entry)])
    told = wording.share_separable(family)
    return f"Other stages at an equal training budget: {told}{remark}.\n\n{grid(lines)}"


def weaker_first(family: Entry | str) -> str:
    """State whether beginning with the weaker stage is better, over a grid of strengths."""
    if isinstance(family, str):
        return f"*Weaker first* over a grid of strengths: {family}."
    sure = [c for c in family["cells"] if c["weaker_is_certain"] and c["orders_separable"]]
    better = sum(cell["weaker_first_is_better"] for cell in sure)
    cells = writing.count(len(family["cells"]), "cell")
    return (
        f"*Weaker first* over {cells}: in {len(sure)} both the "
        f"damage of the two stages alone and their two orders are separable; the order that begins "
        f"with the weaker stage is better in {better} of these and worse in {len(sure) - better}."
    )
