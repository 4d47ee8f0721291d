"""The page of all methods and their settings, from what each method declares of itself."""

from collections.abc import Iterable, Iterator

from compression_order import methods
from compression_order.checkpoint.settings import Adapter
from compression_order.common import declare
from compression_order.common.declare import Settings
from compression_order.methods.kinds import Method
from compression_order.training.settings import Training

HEAD = """\
# Methods and their settings

`make docs` writes this page from `src/compression_order/methods/*/settings.py`. A study file and
the flags of a stage (`python src/prune.py --method wanda --help`) take the same settings. A setting
that is left out has its default. [methods.md](methods.md) explains the methods.
"""
# settings of their own that several methods have, each described once
SHARED: tuple[tuple[type[Settings], str], ...] = (
    (Training, "A training"),
    (Adapter, "An adapter"),
)


def write() -> str:
    """The page."""
    all_methods = [[f"[`{m}`](#{m})", *summary(methods.settings(m))] for m in methods.REGISTRY]
    lines = [HEAD, *table([["method", "stage", "environment", "what it does"], *all_methods]), ""]
    for method in methods.REGISTRY:
        lines += section(method, methods.settings(method))
    for kind, title in SHARED:
        lines += [f"## {title}\n", *table(declare.table(kind)), ""]
    return "\n".join(lines)


def summary(its: type[Method]) -> list[str]:
    """Kind of stage, environment, and the first sentence of the docstring."""
    return [its.kind, its.environment, said(its)]


def said(kind: type[Settings]) -> str:
    """The first paragraph of a docstring."""
    return " ".join(str(kind.__doc__).split("\n\n")[0].split())


def section(method: str, its: type[Method]) -> Iterator[str]:
    """One method: its own settings, and where those that it shares are described."""
    rules = ", ".join(f"`{rule}`" for rule in its.rules)
    yield f"## {method}\n\n{said(its)} On a quantized parent: {rules}.\n"
    own = [row for row in declare.table(its) if "." not in row[0]]
    yield from [*table(own), ""] if len(own) > 1 else []
    for name, field in its.model_fields.items():
        inner = declare.nested(field)
        if inner is None:
            continue
        title = dict(SHARED)[inner]
        other = differing(field.get_default(call_default_factory=True), inner)
        yield f"`{name}`: {title.lower()}, [below](#{title.lower().replace(' ', '-')}){other}.\n"


def differing(given: Settings, kind: type[Settings]) -> str:
    """The defaults in which a method differs from what is described once."""
    usual = kind().model_dump()
    found = [f"`{k}` {v}" for k, v in given.model_dump().items() if v != usual[k]]
    return f", with the default {', '.join(found)}" if found else ""


def table(rows: Iterable[list[str]]) -> list[str]:
    """A Markdown table, its first row the heading."""
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return [head, "|" + "---|" * (head.count(" | ") + 1), *body]
