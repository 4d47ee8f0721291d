"""Settings on the command line: one flag a setting, made from a method's dataclass and schema.

The dataclass gives names, types and defaults; the schema gives meanings, units and ranges.
A nested dataclass gives dotted flags: `recovery.steps` is `--recovery.steps`.
"""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compression_order import schema
from compression_order.errors import HarnessError

# keys of a stage entry that are flags of every stage, not settings of its method
COMMON = ("method", "on_quantized")


def adapts(method: str, on_quantized: str) -> bool:
    """Whether a stage may train an adapter: always, or only on a quantized parent."""
    return method == "lora" or on_quantized == "adapter"


def used(settings: Mapping[str, Any], method: str, on_quantized: str) -> dict[str, Any]:
    """A stage's settings, without those of an adapter that it never trains."""
    kept = dict(settings)
    if not adapts(method, on_quantized):
        kept.pop("adapter", None)
    return kept


def flags(entry: Mapping[str, Any], prefix: str = "") -> list[str]:
    """A stage entry of a study as sorted `--name=value` tokens.

    One sorted list is what Snakemake compares: two values that change places make another
    list, whereas separate parameters would be compared as an unnamed set.
    """
    tokens: list[str] = []
    for key, value in entry.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            tokens += flags(value, f"{name}.")
        else:
            tokens.append(f"--{name.replace('_', '-')}={_text(value)}")
    return sorted(tokens)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def add_flags(parser: argparse.ArgumentParser, kind: type, method: str) -> None:
    """Add the flags of a method's settings, with help from its schema."""
    group = parser.add_argument_group(f"settings of {method}")
    _add(group, kind, schema.method_schema(method), "")


def _add(group: Any, kind: type, described: Mapping[str, Any], prefix: str) -> None:
    for field in dataclasses.fields(kind):
        its = described["properties"][field.name]
        default = _default(field)
        if dataclasses.is_dataclass(default):
            _add(group, type(default), its, f"{prefix}{field.name}.")
            continue
        name = f"{prefix}{field.name}"
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            type=_reader(type(default)),
            choices=its.get("enum"),
            default=default,
            help=f"{its['description']} (default: {_text(default)})".replace("%", "%%"),
        )


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _reader(kind: type) -> Any:
    return truth if kind is bool else kind


def truth(text: str) -> bool:
    """`true` or `false`, as a study file writes them."""
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is not true or false")
    return text == "true"


def read(kind: type, method: str, values: Mapping[str, Any]) -> Any:
    """A method's settings from parsed flags, checked against the schema.

    Raises:
        HarnessError: a value out of its range.
    """
    settings = _build(kind, values, "")
    entry = {"method": method, **dataclasses.asdict(settings)}
    schema.validate(entry, schema.method_schema(method), "command line")
    return settings


def _build(kind: type, values: Mapping[str, Any], prefix: str) -> Any:
    found = {}
    for field in dataclasses.fields(kind):
        default = _default(field)
        if dataclasses.is_dataclass(default):
            found[field.name] = _build(type(default), values, f"{prefix}{field.name}.")
        else:
            found[field.name] = values[f"{prefix}{field.name}"]
    return kind(**found)


def add_device(parser: argparse.ArgumentParser) -> None:
    """The flag of every process that computes."""
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where it computes (default: cpu)"
    )


def add_study(parser: argparse.ArgumentParser) -> None:
    """The flag of every process that reads a whole study."""
    parser.add_argument(
        "--study",
        type=Path,
        nargs="+",
        default=[Path("config.yaml")],
        help="the study, and files to lay over it (default: config.yaml)",
    )


class Parser(argparse.ArgumentParser):
    """An argument parser whose faults are told like every other fault of the input."""

    def error(self, message: str) -> Any:
        """Raise instead of printing the usage."""
        raise HarnessError(f"{self.prog}: {message}; see {self.prog} --help")


def method_of(argv: Sequence[str], default: str) -> str:
    """The value of `--method` in an argument list, read before the flags of that method exist."""
    early = argparse.ArgumentParser(add_help=False)
    early.add_argument("--method", default=default)
    return str(early.parse_known_args(argv)[0].method)
