"""The brain of the DAG: pipelines, their prefixes, and which of them can exist.

Pure Python: the Snakefile imports it on login nodes that have no torch.

A pipeline is a sequence of stage tokens joined with `-`, such as `P-KD-Q`; `base` is the
pipeline with no stage. Every prefix of a pipeline is a node of the DAG, so `P-KD-Q` and
`P-Q-KD` share the node `P`: the 16 ordered subsets of three stages are 15 stage jobs.

A token may carry a variant after a dot: `P.paper` is another way to do `P`. A study may set
several arms side by side, such as the published settings and the corrected ones; an arm is
every ordered subset of its own tokens, or the pipelines that it names, and what two arms share
is one node.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from types import MappingProxyType
from typing import Any

from compression_order.common.errors import HarnessError

BASE = "base"
ALL = "all"  # the one arm of a study without arms

Rows = Mapping[str, str]  # published pipeline -> the row that stands for it


@dataclass(frozen=True)
class Stage:
    """What a token means in one study: a kind of stage, its method and the method's settings."""

    token: str
    kind: str
    method: str
    on_quantized: str
    settings: Any = None


@dataclass(frozen=True)
class Plan:
    """The nodes of a study.

    Attributes:
        rows: the pipelines of the table: `base`, then every ordering in the study's order, each
            after those of its prefixes that no row before it has.
        nodes: every pipeline that needs a checkpoint, parents before children, without `base`:
            the rows, and what teaches a distillation of theirs.
        refused: pipeline -> why it cannot exist; such a pipeline is a row but not a node.
        arms: arm -> its rows, `base` among them; empty where the study has no arms.
    """

    rows: tuple[str, ...]
    nodes: tuple[str, ...]
    refused: Mapping[str, str]
    arms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def split(pipeline: str) -> tuple[str, ...]:
    """The stage tokens of a pipeline: `P-KD-Q` gives ("P", "KD", "Q"), `base` gives ()."""
    return () if pipeline == BASE else tuple(pipeline.split("-"))


def join(tokens: Sequence[str]) -> str:
    """The pipeline of a token sequence; the inverse of `split`."""
    return "-".join(tokens) or BASE


def replaced(pipeline: str, token: str, other: str) -> str:
    """The pipeline with another stage wherever it has the token."""
    return join([other if its == token else its for its in split(pipeline)])


def parent(pipeline: str) -> str:
    """The pipeline without its last stage."""
    return join(split(pipeline)[:-1])


def last(pipeline: str) -> str:
    """The token of the last stage."""
    return split(pipeline)[-1]


def stem(token: str) -> str:
    """A token without its variant: `P.paper` gives `P`."""
    return token.partition(".")[0]


def plain(pipeline: str) -> str:
    """A pipeline without variants: `P.paper-Q` gives `P-Q`, the name a published row has."""
    return join([stem(token) for token in split(pipeline)])


def prefixes(pipeline: str) -> list[str]:
    """Every non-empty prefix, shortest first, the pipeline itself included."""
    tokens = split(pipeline)
    return [join(tokens[:n]) for n in range(1, len(tokens) + 1)]


def all_subsets(tokens: Sequence[str]) -> list[str]:
    """Every ordered subset without repeats: singles, then pairs, and so on; `base` left out."""
    return [join(p) for n in range(1, len(tokens) + 1) for p in permutations(tokens, n)]


def before(pipeline: str, first: str, second: str) -> bool | None:
    """Whether the first `first` comes before the first `second`; None unless both occur.

    Variants count as the stage that they are a variant of.
    """
    tokens = split(plain(pipeline))
    if first not in tokens or second not in tokens:
        return None
    return tokens.index(first) < tokens.index(second)


def swapped(one: str, other: str) -> int | None:
    """Where two pipelines have two neighbours the other way round; else None."""
    first, second = split(one), split(other)
    if len(first) != len(second):
        return None
    differ = [n for n, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
    if len(differ) != 2 or differ[1] != differ[0] + 1:
        return None
    at = differ[0]
    return at if (first[at], first[at + 1]) == (second[at + 1], second[at]) else None


def swaps(pipelines: Iterable[str]) -> list[tuple[str, str]]:
    """Every two pipelines that differ by two neighbouring stages alone: ...-X-Y-..., ...-Y-X-..."""
    rows = list(pipelines)
    place = {row: nth for nth, row in enumerate(rows)}
    found: list[tuple[str, str]] = []
    for nth, row in enumerate(rows):
        tokens = split(row)
        turned = [
            join([*tokens[:at], tokens[at + 1], tokens[at], *tokens[at + 2 :]])
            for at in range(len(tokens) - 1)
        ]
        later = sorted(its for other in turned if (its := place.get(other, nth)) > nth)
        found += [(row, rows[its]) for its in later]
    return found


def plan(
    orderings: str | Sequence[str] | Mapping[str, Sequence[str]],
    stages: Mapping[str, Stage],
    teachers: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """The nodes and rows that a study's `orderings` ask for.

    Args:
        orderings: `all-subsets`; or pipelines by name; or arms, each with the tokens whose
            ordered subsets it is, or with pipelines by name, at least one of several stages.
            `base` is always the first row.
        stages: what each token means.
        teachers: token -> the pipeline that it learns from, where one teaches it.

    Raises:
        HarnessError: an ordering names a token that `stages` does not have.
    """
    arms: dict[str, tuple[str, ...]] = {}
    if isinstance(orderings, Mapping):
        arms = {arm: (BASE, *_arm(items, stages)) for arm, items in orderings.items()}
        wanted = list(dict.fromkeys(row for rows in arms.values() for row in rows[1:]))
    elif isinstance(orderings, str):
        wanted = all_subsets(list(stages))
    else:
        wanted = [p for p in dict.fromkeys(orderings) if p != BASE]
    for pipeline in wanted:
        _require_known(split(pipeline), stages, pipeline)
    rows = list(dict.fromkeys(prefix for pipeline in wanted for prefix in prefixes(pipeline)))
    refused = {row: why for row in rows if (why := refusal(row, stages))}
    made = with_teachers((row for row in rows if row not in refused), teachers)
    nodes = sorted(made, key=lambda p: len(split(p)))
    return Plan((BASE, *rows), tuple(nodes), refused, arms)


def with_teachers(pipelines: Iterable[str], teachers: Mapping[str, str]) -> list[str]:
    """Pipelines, the pipelines that teach their stages, and all prefixes of the latter."""
    found = dict.fromkeys(pipelines)
    waiting = list(found)
    while waiting:
        token = last(waiting.pop())
        for prefix in prefixes(teachers[token]) if token in teachers else ():
            if prefix not in found:
                found[prefix] = None
                waiting.append(prefix)
    return list(found)


def _arm(items: Sequence[str], stages: Mapping[str, Stage]) -> list[str]:
    """The rows of an arm but `base`: of tokens, or of pipelines by name with their prefixes."""
    for item in items:
        _require_known(split(item), stages, item)
    if all(len(split(item)) < 2 for item in items):
        return all_subsets(items)
    return list(dict.fromkeys(prefix for item in items for prefix in prefixes(item)))


def _require_known(tokens: Sequence[str], stages: Mapping[str, Stage], where: str) -> None:
    for token in tokens:
        if token not in stages:
            raise HarnessError(
                f"orderings: {where!r} names the stage {token!r}, which `stages` does not "
                f"define; define it there or use one of {', '.join(stages)}"
            )


def is_quantized(pipeline: str, stages: Mapping[str, Stage]) -> bool:
    """Whether the checkpoint of a pipeline is stored quantized."""
    quantized = False
    for token in split(pipeline):
        stage = stages[token]
        if stage.kind == "quantize":
            quantized = True
        elif stage.on_quantized == "dequantize":
            quantized = False
    return quantized


def refusal(pipeline: str, stages: Mapping[str, Stage]) -> str | None:
    """Why a pipeline cannot exist, or None: a stage that refuses stands on a quantized parent."""
    for prefix in prefixes(pipeline):
        stage = stages[last(prefix)]
        if stage.on_quantized == "refuse" and is_quantized(parent(prefix), stages):
            return f"{stage.token} refuses the quantized parent {parent(prefix)}"
    return None


def ending_in(tokens: Iterable[str]) -> str:
    """A regular expression for the pipelines whose last stage is one of `tokens`.

    No token gives an expression that matches nothing, so a rule without stages never applies.
    """
    alternatives = "|".join(re.escape(token) for token in tokens)
    return rf"(?:[^/]+-)?(?:{alternatives})" if alternatives else r"(?!)"


def stages_of(row: str) -> tuple[str, ...]:
    """The stages of a row, sorted: rows with the same ones are orders of each other."""
    return tuple(sorted(split(row)))


@dataclass(frozen=True)
class Orders:
    """Rows that are orders of the same stages.

    Attributes:
        stages: the tokens, in the order of the first row.
        rows: the orders, as in the study.
    """

    stages: tuple[str, ...]
    rows: tuple[str, ...]

    @property
    def title(self) -> str:
        """`orders of P, KD, Q`."""
        return f"orders of {', '.join(self.stages)}"


def several_orders(rows: Sequence[str]) -> list[Orders]:
    """Every set of stages that has several orders among the rows."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        groups.setdefault(stages_of(row), []).append(row)
    return [Orders(split(its[0]), tuple(its)) for its in groups.values() if len(its) > 1]


def full_orders(rows: Sequence[str]) -> list[Orders]:
    """Orders at full compression: no other stages with several orders hold theirs and more."""
    several = several_orders(rows)
    return [
        orders
        for orders in several
        if not any(_holds_more(other.stages, orders.stages) for other in several)
    ]


def _holds_more(other: Sequence[str], stages: Sequence[str]) -> bool:
    return len(other) > len(stages) and all(other.count(s) >= stages.count(s) for s in stages)


def rows_of_arms(plan: Plan, source: str) -> dict[str, Rows]:
    """Which rows of a study stand for which published pipeline, arm by arm.

    A published pipeline has no variants. The row of its own name stands for it, such as `P-Q` for
    `P-Q`; where an arm has none, a variant does: `P.paper-Q`. Other variants stand for nothing.

    Args:
        plan: of the study.
        source: the study file, for messages.

    Raises:
        HarnessError: an arm has two variants of a published pipeline, and not itself.
    """
    return {
        arm: _standing(its, arm, source) for arm, its in (plan.arms or {ALL: plan.rows}).items()
    }


def _standing(rows: Sequence[str], arm: str, source: str) -> Rows:
    found = {row: row for row in rows if row == plain(row)}
    for row in rows:
        name = plain(row)
        if row == name or name in rows:
            continue
        other = found.setdefault(name, row)
        if other != row:
            raise HarnessError(
                f"{source}: orderings: the arm {arm!r} holds {other} and {row}, which both "
                f"stand for the published {name}; put them into two arms"
            )
    return found


def stands_for(row: str, rows: Sequence[str], arms: Mapping[str, Sequence[str]]) -> str | None:
    """The published pipeline that a row stands for in any arm; None: it is another variant."""
    name = plain(row)
    its = [own for own in (arms.values() if arms else [rows]) if row in own]
    return name if row == name or any(name not in own for own in its) else None
