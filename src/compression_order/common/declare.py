"""Settings said once: a class gives their names, types, defaults, ranges and meanings.

A study file, the flags of a command, its help and the tables of docs/ are made from the class. A
nested class gives dotted names: `recovery.steps` is the flag `--recovery.steps`. What is wrong with
a value is told in one sentence: source, key, value, what to do.
"""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from compression_order.common import arithmetic
from compression_order.common.errors import HarnessError

Declared = TypeVar("Declared", bound="Settings")


class Role(Enum):
    """What a setting is to those who compare stages; named in its annotation."""

    STRENGTH = "how much a stage compresses"
    TEACHING = "does nothing where the teacher has no weight in the loss"
    TEACHER = "decides what the teacher's outputs are"


class Settings(BaseModel):
    """The base of every declaration: closed, typed without conversion, and fixed once made."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, regex_engine="python-re"
    )

    @model_validator(mode="before")
    @classmethod
    def _known_and_whole(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        # told before the fields are looked at: a misspelt key is a missing one too
        for name in value:
            if name not in cls.model_fields:
                known = ", ".join(sorted(cls.model_fields))
                raise fault(f"the key {name!r} is not known here; use one of {known}")
        return {name: _whole(cls.model_fields[name], its) for name, its in value.items()}

    def with_(self, **changes: Any) -> Self:
        """The same settings but for these."""
        return self.model_validate(self.model_dump() | changes)


def _whole(field: FieldInfo, value: Any) -> Any:
    """What is said of nested settings, and this field's own defaults for the rest of them."""
    default = field.get_default(call_default_factory=True)
    if isinstance(default, Settings) and isinstance(value, Mapping):
        return {**default.model_dump(), **value}
    return value


def fault(sentence: str) -> PydanticCustomError:
    """What a validator raises: a sentence that follows the key."""
    escaped = sentence.replace("{", "{{").replace("}", "}}")
    return PydanticCustomError("told", escaped)


def nested(field: FieldInfo) -> type[Settings] | None:
    """The class of a setting that has settings of its own, else None."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Settings) else None


def leaves(kind: type[Settings], prefix: str = "") -> Iterator[tuple[str, FieldInfo, Any]]:
    """Dotted name, declaration and default of every setting; nested ones one by one."""
    yield from _leaves(kind, {}, prefix)


def _leaves(
    kind: type[Settings], given: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, FieldInfo, Any]]:
    for name, field in kind.model_fields.items():
        default = given.get(name, field.get_default(call_default_factory=True))
        inner = nested(field)
        if inner is None:
            yield f"{prefix}{name}", field, default
        else:
            its = default.model_dump() if isinstance(default, Settings) else {}
            yield from _leaves(inner, its, f"{prefix}{name}.")


def with_role(kind: type[Settings], role: Role) -> list[str]:
    """The dotted names of the settings that have a role."""
    return [name for name, field, _ in leaves(kind) if role in field.metadata]


def flags(entry: Mapping[str, Any] | Settings, prefix: str = "") -> list[str]:
    """Settings as sorted `--name=value` tokens.

    One sorted list is what Snakemake compares: two values that change places make another
    list, whereas separate parameters would be compared as an unnamed set.
    """
    tokens: list[str] = []
    for key, value in (entry.model_dump() if isinstance(entry, Settings) else entry).items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            tokens += flags(value, f"{name}.")
        else:
            tokens.append(f"--{name.replace('_', '-')}={_text(value)}")
    return sorted(tokens)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def add_flags(parser: argparse.ArgumentParser, kind: type[Settings], title: str = "") -> None:
    """Add a flag for every setting of a class, with its meaning, unit and default."""
    group = parser.add_argument_group(title) if title else parser
    for name, field, default in leaves(kind):
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            type=_reader(field.annotation),
            choices=_choices(field.annotation),
            **_default(field, default),
        )


def _default(field: FieldInfo, default: Any) -> dict[str, Any]:
    if field.is_required():
        return {"required": True, "help": str(field.description).replace("%", "%%")}
    told = f"{field.description} (default: {_text(default)})"
    return {"default": default, "help": told.replace("%", "%%")}


def _choices(annotation: Any) -> Sequence[str] | None:
    return get_args(annotation) if get_origin(annotation) is Literal else None


def _reader(annotation: Any) -> Any:
    """What turns a flag's text into a value."""
    if annotation is bool:
        return truth
    if get_origin(annotation) is list:
        return numbers
    return str if _choices(annotation) else annotation


def truth(text: str) -> bool:
    """`true` or `false`, as a study file writes them."""
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is not true or false")
    return text == "true"


def numbers(text: str) -> list[int]:
    """Whole numbers joined by commas."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} are not whole numbers; write them as 1,4"
        ) from None


def read(kind: type[Declared], values: Mapping[str, Any]) -> Declared:
    """The settings of a class from parsed flags.

    Raises:
        HarnessError: a value out of its range.
    """
    found: dict[str, Any] = {}
    for name, _, _ in leaves(kind):
        *folders, last = name.split(".")
        inside = found
        for folder in folders:
            inside = inside.setdefault(folder, {})
        inside[last] = values[name]
    try:
        return kind.model_validate(found)
    except ValidationError as wrong:
        at, told = _first(wrong)
        flag = ".".join(part for part in at if not part.isdigit()).replace("_", "-")
        raise HarnessError(f"{f'--{flag}' if flag else 'command line'}: {told}") from None


def checked(kind: type[Declared], value: Any, source: str, key: str = "") -> Declared:
    """The settings of a class from what a file holds.

    Args:
        kind: the class.
        value: what was read.
        source: the file or command that it came from, for the message.
        key: where it stands there, such as `stages.P`; empty for the whole file.

    Raises:
        HarnessError: the first fault, deepest first, with source, key, value and what to do.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as found:
        at, told = _first(found)
        where = ".".join([key, *at] if key else at)
        raise HarnessError(": ".join(filter(None, (source, where, told)))) from None


def _first(found: ValidationError) -> tuple[list[str], str]:
    """The keys that lead to the first fault, and what is wrong there."""
    first = min(found.errors(include_url=False), key=_rank)
    # the names of alternatives are no keys of the file
    at = [str(part) for part in first["loc"] if not str(part).startswith("<")]
    if first["type"] == "missing":
        missing = at.pop()
        return at, f"the key {missing!r} is missing; add it"
    return at, _told(first)


def _rank(error: ErrorDetails) -> tuple[int, bool, str]:
    return -len(error["loc"]), error["type"] == "missing", error["msg"]


_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
}
_BOUNDS = {
    "greater_than_equal": ("must be at least", "ge"),
    "less_than_equal": ("must be at most", "le"),
    "greater_than": ("must be greater than", "gt"),
    "less_than": ("must be less than", "lt"),
    "multiple_of": ("must be a multiple of", "multiple_of"),
    "string_pattern_mismatch": ("must match", "pattern"),
    "too_short": ("needs this many entries at least:", "min_length"),
    "string_too_short": ("needs this many characters at least:", "min_length"),
}


def _told(error: ErrorDetails) -> str:
    kind, value, told = error["type"], error["input"], error.get("ctx", {})
    if kind in _TYPES:
        return f"{value!r} is not {_TYPES[kind]}; {_hint(value, _TYPES[kind])}"
    if kind == "literal_error":
        known = ", ".join(
            part.strip("'") for part in told["expected"].replace(" or ", ", ").split(", ")
        )
        return f"{value!r} is not known; use one of {known}"
    if kind in _BOUNDS:
        says, bound = _BOUNDS[kind]
        limit = told[bound]
        limit = int(limit) if isinstance(limit, float) and limit.is_integer() else limit
        return f"{value!r} {says} {limit}; correct it"
    if kind == "finite_number":
        return f"{value} is not a finite number; correct it"
    return error["msg"]


def _hint(value: Any, wanted: str) -> str:
    if not isinstance(value, str) or "number" not in wanted or not _reads_as_number(value):
        return "correct it"
    if "whole" in wanted:
        return "write it without quotes, in a file: --config makes text of what stands in brackets"
    return f"write it with a dot and no quotes, such as {_with_dot(value)}"


def _reads_as_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _with_dot(text: str) -> str:
    # YAML 1.1 takes 5e-5 for text: a number needs a dot in its mantissa
    mantissa, _, exponent = text.lower().partition("e")
    mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{mantissa}e{exponent}" if exponent else mantissa


def table(kind: type[Settings]) -> list[list[str]]:
    """The rows of a documentation table: setting, default, what it may be, meaning."""
    rows = [["setting", "default", "may be", "meaning"]]
    for name, field, default in leaves(kind):
        shown = "must be said" if field.is_required() else _text(default) or "none"
        rows.append([f"`{name}`", shown, _range(field), str(field.description)])
    return rows


def _range(field: FieldInfo) -> str:
    """What a setting may be, in words."""
    chosen = _choices(field.annotation)
    if chosen:
        return ", ".join(chosen)
    words = {bool: "true, false", int: "whole number", float: "number", str: "text"}
    parts = [words.get(field.annotation, "list of whole numbers")]  # type: ignore[arg-type]
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "multiple_of": "multiple of"}
    for constraint in field.metadata:
        for name, sign in signs.items():
            if hasattr(constraint, name):
                parts.append(f"{sign} {getattr(constraint, name)}")
    return ", ".join(parts)


class Parser(argparse.ArgumentParser):
    """An argument parser whose faults are told like every other fault of the input.

    Args:
        doc: the command's docstring; its first lines may be a command to copy.
    """

    def __init__(self, doc: str | None = None, **options: Any) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=doc, formatter_class=formatter, **options)

    def error(self, message: str) -> Any:
        """Raise instead of printing the usage."""
        raise HarnessError(f"{self.prog}: {message}; see {self.prog} --help")


def add_device(parser: argparse.ArgumentParser) -> None:
    """The flag of every process that computes."""
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where it computes (default: cpu)"
    )


def add_work(parser: argparse.ArgumentParser) -> None:
    """The flags of every process that computes with torch and leaves its costs."""
    add_device(parser)
    arithmetic.add_flag(parser)
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads of all processes (default: 1)"
    )
    parser.add_argument(
        "--costs",
        type=Path,
        default=Path("work/costs"),
        help="folder for the times taken (default: work/costs)",
    )


def add_study(parser: argparse.ArgumentParser) -> None:
    """The flag of every command that reads a whole study."""
    parser.add_argument(
        "--study",
        type=Path,
        nargs="+",
        default=[Path("config.yaml")],
        help="the study, and files to lay over it (default: config.yaml)",
    )


def value_of(argv: Sequence[str], flag: str, default: str) -> str:
    """The value of one flag in an argument list, read before the other flags exist."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument(flag, dest="value", default=default)
    return str(early.parse_known_args(argv)[0].value)
