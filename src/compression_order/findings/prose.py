"""Write findings.md: analysis.json in sentences."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compression_order.common import writing
from compression_order.common.writing import grid
from compression_order.findings import prose_effects, prose_orders, wording

Entry = Mapping[str, Any]
COUNTS = {"tokens": "its scored tokens", "documents": "as much as any other"}


def page(analysis: Entry) -> str:
    """The whole page."""
    blocks = [f"# Findings: {analysis['study']}", scope(analysis)]
    primary = analysis["primary_text"]
    for name, arm in analysis["arms"].items():
        if len(analysis["arms"]) > 1:
            blocks.append(f"# Arm {name}")
        if primary is None:
            blocks.append("No text was scored, so nothing is said about perplexity.")
        else:
            blocks += of_arm(arm, primary, len(analysis["seeds"]))
        blocks += ["## Question sets", *questions(arm)]
    blocks += ["## What the guards found", guarded(analysis)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def scope(analysis: Entry) -> str:
    """State the sources of variation that the intervals cover."""
    seeds = analysis["seeds"]
    common = (
        "Every statement rests on an interval in `analysis.json`; `docs/statistics.md` says how "
        "each is made. Ratios are of perplexity, paired over the same tokens. Intervals hold "
        "together at 95% over all comparisons of their family, and *separable* means that a tie "
        "lies outside, *equal* that the interval lies within "
        f"{1 / analysis['bound']:.3f} to {analysis['bound']:g}. Neither is no finding. A document "
        f"counts {COUNTS[analysis['weighting']]}. The texts are held out from the training here, "
        "not from that of the model. Every conclusion is about this model, at these strengths."
    )
    if len(seeds) == 1:
        return (
            f"{common} There is one seed: the intervals are over text only, no spread over seeds "
            "is given, and nothing is said about other training runs."
        )
    told = writing.listed([str(seed) for seed in seeds])
    return f"{common} Seeds {told} are replicates: the intervals are over text and seeds."


def of_arm(arm: Entry, primary: str, seeds: int) -> Iterator[str]:
    """Describe perplexity in one arm: the primary text in full, each other text in one line."""
    text = arm["perplexity"][primary]
    yield "## Does training help?"
    yield from prose_effects.trainings(text["trainings"])
    if isinstance(text["contrasts"], Mapping):
        yield "## Primary contrasts"
        yield prose_effects.contrasts(text["contrasts"])
    yield "## Does the order matter?"
    if not text["full_orders"]:
        yield "No stages of this study have two orders, so orders cannot be compared."
    for nth, orders in enumerate(text["full_orders"]):
        title = f"Orders of {writing.listed(orders['stages'])}, perplexity on {primary}"
        unclear = prose_effects.unclear(orders, text["trainings"])
        yield from prose_orders.separation(orders, f"{title} ({text['units']})", unclear)
        yield from elsewhere(arm, primary, nth)
    yield f"## How sure: {'text and seeds' if seeds > 1 else 'text'}"
    yield spread(text, seeds)
    most = max((len(orders["orders"]) for orders in text["full_orders"]), default=0)
    for orders in text["full_orders"]:
        if len(orders["orders"]) == most:
            yield needs(orders, text["units"])
    yield "## Order analysis"
    for orders in text["full_orders"]:
        yield f"Orders of {writing.listed(orders['stages'])}:"
        yield prose_effects.effects(orders)
        yield prose_effects.teachers_part(orders)
        yield "\n".join(prose_orders.gaps(orders))
        yield budgets(orders)
    yield prose_orders.commutators(text["commutators"])
    yield prose_orders.weaker_first(text["weaker_first"])
    yield "## Controls and equal budgets"
    yield prose_orders.controls(text["controls"])
    yield prose_orders.equal_budget(text["equal_budget"])
    yield left_out(text, primary)


def elsewhere(arm: Entry, primary: str, nth: int) -> Iterator[str]:
    """Describe the same orders on the other texts, one line each."""
    for text, found in arm["perplexity"].items():
        there = found["full_orders"][nth]["pairs"]
        if text == primary or isinstance(there, str):
            continue
        told = f"On {text} ({found['units']}), {wording.share_separable(there)}"
        beside = found["full_orders"][nth]["beside_primary"]
        yield f"{told}{agreement(beside) if beside else ''}."


def agreement(beside: Entry) -> str:
    """Count the pairs separable on both texts that have the same direction."""
    both = beside["separable_on_both"]
    if not both:
        return ""
    pairs = writing.count(both, "pair")
    return f"; of {pairs} separable on both, {beside['in_one_direction']} in one direction"


def spread(text: Entry, seeds: int) -> str:
    """Spread over seeds of the orders at full compression, and of their differences."""
    if seeds == 1:
        return "One seed has no spread. Run the study with `seeds: [0, 1, 2]` for one."
    rows = [row for orders in text["full_orders"] for row in orders["orders"]]
    if not rows:
        return "No orders at full compression can be compared."
    found = {row: text["rows"][row]["sd_seeds"] for row in rows}
    shown, remark = wording.longest(rows, lambda row: float(found[row]))
    lines = [["order", "sd of log perplexity over seeds"]]
    lines += [[row, f"{found[row]:.4f}"] for row in shown]
    return f"Standard deviation over {seeds} seeds, nats per token{remark}:\n\n{grid(lines)}"


def needs(orders: Entry, units: str) -> str:
    """State which differences this study can detect, and what a smaller one would need."""
    power = orders["power"]
    if power is None:
        return ""
    kind = units.rsplit(maxsplit=1)[-1]
    lines = [["ratio", kind, "tokens", f"{kind}, all pairs", "tokens, all pairs", "seeds"]]
    for entry in power["needed"]:
        cells = [wording.needed(entry[key], "text") for key in ("units", "tokens")]
        cells += [
            wording.needed(entry[key], "text") for key in ("units_corrected", "tokens_corrected")
        ]
        several = power["sd_seeds"] is not None
        seeds = wording.needed(entry["seeds"], "number") if several else "n/a"
        lines.append([f"{entry['ratio']:.2f}", *cells, seeds])
    alone = wording.times(power["smallest_ratio"])
    among = wording.times(power["smallest_ratio_corrected"])
    return (
        f"With {units} and a paired standard deviation of {power['sd_units']:.3f} nats (median "
        f"over the pairs), a ratio of {alone} between two orders of "
        f"{writing.listed(orders['stages'])} is found with 80% power in one comparison, "
        f"{among} in all pairs at once, as far as text is the limit. What other ratios "
        f"need:\n\n{grid(lines)}"
    )


def budgets(orders: Entry) -> str:
    """State whether orders of the same stages have equal training budgets."""
    spent = sorted(set(orders["conversations"]))
    if spent == [0]:
        return "None of these orders trains, so their differences are at equal budget."
    if len(spent) == 1:
        tokens = sorted(set(orders["trained_tokens"]))
        counted = (
            writing.listed([f"{n:,}" for n in tokens])
            if len(tokens) < 3
            else (f"{tokens[0]:,} to {tokens[-1]:,}")
        )
        return (
            f"All these orders train on {spent[0]:,} conversations, repeats counted ({counted} "
            "tokens in the loss): their differences are at equal budget."
        )
    told = writing.listed([f"{n:,}" for n in spent])
    return f"These orders do not train equally much ({told} conversations)."


def left_out(text: Entry, name: str) -> str:
    """Rows that could not be compared."""
    its = [f"- `{row}`: {why}" for row, why in text["left_out"].items()]
    return "\n".join([f"Not compared on {name}:", "", *its]) if its else ""


def questions(arm: Entry) -> Iterator[str]:
    """Describe every question set: whether it separates orders, or why it cannot."""
    if not arm["questions"]:
        yield "No question set was asked."
        return
    lines = [["set", "questions", "orders", "separable pairs", "finds, one pair", "remark"]]
    for task, found in arm["questions"].items():
        for orders in found["full_orders"]:
            lines.append([task, str(found["questions"]), *_asked(orders, found)])
    if len(lines) == 1:
        yield "No stages of this study have two orders, so question sets compare no orders."
        return
    yield (
        "McNemar's exact test on stored answers; *finds* is the accuracy difference that one "
        f"comparison finds with 80% power.\n\n{grid(lines)}"
    )
    for task, found in arm["questions"].items():
        yield from _differences(task, found)


def _asked(orders: Entry, found: Entry) -> Sequence[str]:
    separable = f"{orders['separable']} of {orders['comparisons']}"
    smallest = orders["power"] and orders["power"]["smallest_difference"]
    remark = found["says_nothing_because"] or "can rank orders"
    finds = f"{smallest:.3f}" if smallest else "n/a"
    return [writing.listed(orders["stages"]), separable, finds, remark]


def _differences(task: str, found: Entry) -> Iterator[str]:
    """The separable pairs of a set that can rank orders, and the declared contrasts."""
    if found["says_nothing_because"]:
        return
    for orders in found["full_orders"]:
        separable = [entry for entry in orders["entries"] if entry["separable"]]
        shown, remark = wording.longest(separable, _size)
        yield from (f"{_difference(task, entry)}: separable." for entry in shown)
        if remark:
            yield f"These are not all{remark}."
    if isinstance(found["contrasts"], Mapping):
        for entry in found["contrasts"]["entries"]:
            yield f"Declared: {_difference(task, entry)}: {wording.verdict(entry)}."


def _size(entry: Entry) -> float:
    return abs(entry["accuracy_difference"])


def _difference(task: str, entry: Entry) -> str:
    """Which row answers more of the questions right."""
    better, worse = entry["first"], entry["second"]
    if entry["accuracy_difference"] < 0:
        better, worse = worse, better
    return (
        f"On {task}, {better} answers {_size(entry):.1%} more of the questions right than {worse}"
    )


def guarded(analysis: Entry) -> str:
    """The findings of the guards, row by row, and the rows that do not exist."""
    lines = [f"- `{row}`: {'; '.join(texts)}" for row, texts in analysis["guards"].items()]
    lines += [f"- `{row}`: refused, so it has no evaluation" for row in analysis["refused"]]
    return "\n".join(lines) if lines else "Nothing."
