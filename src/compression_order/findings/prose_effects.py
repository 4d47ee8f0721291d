"""The parts of findings.md about trainings, primary contrasts and simple effects, on one text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compression_order.common import writing
from compression_order.common.writing import grid
from compression_order.findings import simple_effects, wording
from compression_order.findings.simple_effects import EQUAL, HIGHER, INTERACTION, LOWER, PRUNE

Entry = Mapping[str, Any]
HELPS = {LOWER: "helps", HIGHER: "harms", EQUAL: "changes nothing"}
NOT_SHOWN = "is not shown to help"


def trainings(family: Entry | str) -> Iterator[str]:
    """State of each training on each parent whether it helps: before any order is compared."""
    if isinstance(family, str):
        yield "No training of this study has a row without it, so whether training helps is open."
        return
    lines = [["training", "after", "with over without", "verdict", "left by quantizing again"]]
    for entry in family["entries"]:
        left = "n/a" if entry["kept"] is None else f"{entry['kept']:.1%}"
        lines.append([entry["trains"], entry["after"], _ratio(entry), helps(entry), left])
    found = [helps(entry) for entry in family["entries"]]
    counted = [
        f"{word} at {found.count(word)}" for word in (*HELPS.values(), NOT_SHOWN) if word in found
    ]
    places = writing.count(len(found), "place")
    told = f"Of {places} where this study trains, training {writing.listed(counted)}."
    yield f"{told}\n\n{grid(lines)}"


def helps(entry: Entry) -> str:
    """What a training does to its parent."""
    return HELPS.get(simple_effects.verdict_of(entry), NOT_SHOWN)


def unclear(orders: Entry, family: Entry | str) -> str:
    """Why differences between orders may be of training, not of order; empty if they are not."""
    told = {} if isinstance(family, str) else {e["with"]: e for e in family["entries"]}
    wanted = orders["trained_on"]
    open_ = [row for row in wanted if row not in told]
    useless = [row for row in wanted if row in told and helps(told[row]) != HELPS[LOWER]]
    reasons = []
    if useless:
        count = f"{len(useless)} of {len(wanted)} places"
        reasons.append(
            f"training is not shown to help at {count} where these orders train ({_some(useless)})"
        )
    if open_:
        reasons.append(f"whether it helps is not tested at {_some(open_)}")
    return "; ".join(reasons)


def _some(rows: Sequence[str]) -> str:
    shown = writing.listed(list(rows[:4]))
    return f"{shown} and {len(rows) - 4} more" if len(rows) > 4 else shown


def contrasts(family: Entry) -> str:
    """Describe the primary contrasts, which the study declares before it is run."""
    lines = [
        ["primary contrast", "over", "under", "ratio", "expected", "verdict", "verdict depends on"]
    ]
    for entry in family["entries"]:
        cells = [_rows(entry["over"]), _rows(entry["under"]), _ratio(entry)]
        lines.append(
            [entry["name"], *cells, _expected(entry), wording.verdict(entry), _depends(entry)]
        )
    told = wording.share_separable(family, "primary contrast")
    return (
        f"Declared before the run: {told}. All else on this page is exploratory.\n\n{grid(lines)}"
    )


def _rows(groups: Sequence[Sequence[str]]) -> str:
    """`P-Q`; `mean of P-Q and Q-P`; several joined by a multiplication sign."""
    told = [g[0] if len(g) == 1 else f"mean of {writing.listed(list(g))}" for g in groups]
    return " × ".join(told)


def _expected(entry: Entry) -> str:
    if entry["expect"] == "open":
        return "nothing"
    found = simple_effects.verdict_of(entry)
    if found == entry["expect"] or (entry["expect"] == EQUAL and entry["equal"]):
        return f"{entry['expect']}, found"
    if found == simple_effects.OPEN:
        return f"{entry['expect']}, not shown"
    return f"{entry['expect']}, found {found}"


def _depends(entry: Entry) -> str:
    """Which other estimate has another verdict."""
    names = {"weighting": "the weighting of documents", "moderated": "the spread over seeds"}
    own = simple_effects.verdict_of(entry)
    other = [
        names[name]
        for name, its in entry["beside"].items()
        if simple_effects.verdict_of({**its, "log_ratio": its["ratio"] - 1}) != own
    ]
    return writing.listed(other) if other else "nothing"


def effects(orders: Entry) -> str:
    """Describe the simple effects of the two predicates, and their interaction."""
    family = orders["simple_effects"]
    if isinstance(family, str):
        return f"*Prune after quantize*, *train after quantize*: {family}."
    header = ["effect of", "where", "orders that do", "over the others", "ratio"]
    lines = [[*header, "verdict", "verdict depends on"]]
    for entry in family["entries"]:
        if entry["effect"] == INTERACTION:
            continue
        name = f"{_act(entry)} after quantizing"
        cells = [_mean(entry["holds"]), _mean(entry["others"]), _ratio(entry)]
        where = entry["where"] or "everywhere"
        lines.append([name, where, *cells, wording.verdict(entry), _depends(entry)])
    last = family["entries"][-1]
    told = _interaction(last) if last["effect"] == INTERACTION else ""
    return f"{grid(lines)}\n\n{told}".strip()


def _act(entry: Entry) -> str:
    return str(entry["acts"]) if entry["effect"] == PRUNE else "training"


def _mean(rows: Sequence[str]) -> str:
    return rows[0] if len(rows) == 1 else f"mean of {writing.listed(list(rows))}"


def _interaction(entry: Entry) -> str:
    """Whether the effect of one predicate depends on the other."""
    told = f"The two effects interact: {wording.factor(entry)}"
    if entry["separable"]:
        return f"{told}. So each holds only where the table says."
    if entry["equal"]:
        return f"The two effects do not interact beyond the bound: {wording.factor(entry)}."
    return f"Whether the two effects interact is open: {wording.factor(entry)}."


def teachers_part(orders: Entry) -> str:
    """Describe what of an effect is the teacher's and not that of training as such."""
    family = orders["teachers_part"]
    if isinstance(family, str):
        return ""
    words = {
        LOWER: "identified: the teacher's",
        HIGHER: "identified: the teacher's",
        EQUAL: "training, whoever teaches",
    }
    lines = [["effect", "where", "with", "in its place", "ratio of the two effects", "verdict"]]
    for entry in family["entries"]:
        found = EQUAL if entry["equal"] else simple_effects.verdict_of(entry)
        told = words.get(found, "not identified")
        cells = [
            entry["effect"],
            entry["where"] or "everywhere",
            entry["teaches"],
            entry["control"],
        ]
        lines.append([*cells, _ratio(entry), told])
    return (
        "The same effects among the orders that fine-tune on the same conversations in place of "
        f"the distillation:\n\n{grid(lines)}"
    )


def _ratio(entry: Entry) -> str:
    return f"{wording.times(entry['ratio'])} ({wording.between(entry['simultaneous'])})"
