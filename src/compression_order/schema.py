"""What a study file may say, and the one sentence for what it may not.

The schema (`schemas/study.schema.yaml`) is the only list of keys, ranges and meanings: the
study file, the flags of every stage script and their help texts are all checked against or
made from it.
"""

import math
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from jsonschema.exceptions import ValidationError

from compression_order.errors import HarnessError

PATH = Path(__file__).parents[2] / "schemas" / "study.schema.yaml"
_TYPE_WORDS = {
    "number": "a number",
    "integer": "a whole number",
    "string": "text",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
}


@cache
def study_schema() -> dict[str, Any]:
    """The whole schema, JSON Schema draft 2020-12, a stage closed by the methods it defines."""
    schema: dict[str, Any] = yaml.safe_load(PATH.read_text())
    names = [name for name, its in schema["$defs"].items() if "method" in its.get("properties", {})]
    schema["$defs"]["stage"] |= {
        "properties": {"method": {"enum": names}},
        "allOf": [_branch(name) for name in names],
    }
    return schema


def _branch(method: str) -> dict[str, Any]:
    chosen = {"properties": {"method": {"const": method}}, "required": ["method"]}
    return {"if": chosen, "then": {"$ref": f"#/$defs/{method}"}}


def method_schema(method: str) -> dict[str, Any]:
    """The closed schema of one method's stage entry, references resolved."""
    resolved = _resolve(study_schema()["$defs"][method])
    assert isinstance(resolved, dict)
    return resolved


def _resolve(node: Any) -> Any:
    if isinstance(node, Mapping):
        if "$ref" in node:
            target = study_schema()["$defs"][node["$ref"].rsplit("/", 1)[1]]
            return _resolve({**target, **{k: v for k, v in node.items() if k != "$ref"}})
        return {key: _resolve(value) for key, value in node.items()}
    return [_resolve(item) for item in node] if isinstance(node, list) else node


def validate(value: Any, schema: Mapping[str, Any], source: str) -> None:
    """Check a value against a schema.

    Args:
        value: what was read.
        schema: what it may be.
        source: the file (or command) that the value came from, for the message.

    Raises:
        HarnessError: the first fault, deepest first, with file, key, value and what to do.
    """
    validator = jsonschema.Draft202012Validator(schema)
    faults = sorted(validator.iter_errors(value), key=_rank)
    if faults:
        raise HarnessError(f"{source}: {_sentence(faults[0])}")
    for key, number in _numbers(value, ""):
        if not math.isfinite(number):
            raise HarnessError(f"{source}: {key}: {number} is not a finite number; correct it")


def _rank(fault: ValidationError) -> tuple[int, bool, str]:
    # a misspelt key is also a missing one: the first says more
    return -len(fault.absolute_path), fault.validator != "additionalProperties", fault.message


def _numbers(value: Any, key: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _numbers(item, f"{key}.{name}".lstrip("."))
    elif isinstance(value, float):
        yield key, value


def _sentence(fault: ValidationError) -> str:
    key = ".".join(str(part) for part in fault.absolute_path) or "the file"
    match fault.validator:
        case "additionalProperties":
            return _unknown_key(key, fault)
        case "required":
            missing = [name for name in fault.validator_value if name not in fault.instance]
            return f"{key}: the key {missing[0]!r} is missing; add it"
        case "type":
            return f"{key}: {_wrong_type(fault)}"
        case "enum" | "const":
            allowed = fault.validator_value
            names = allowed if isinstance(allowed, list) else [allowed]
            return (
                f"{key}: {fault.instance!r} is not known; use one of {', '.join(map(str, names))}"
            )
        case _:
            return f"{key}: {_out_of_range(fault)}"


def _unknown_key(key: str, fault: ValidationError) -> str:
    known = sorted(fault.schema.get("properties", {}))
    unknown = next(name for name in fault.instance if name not in known)
    return f"{key}: the key {unknown!r} is not known here; use one of {', '.join(known)}"


def _wrong_type(fault: ValidationError) -> str:
    wanted = fault.validator_value
    words = " or ".join(
        _TYPE_WORDS.get(w, w) for w in ([wanted] if isinstance(wanted, str) else wanted)
    )
    hint = "correct it"
    if isinstance(fault.instance, str) and "number" in words and _reads_as_number(fault.instance):
        hint = f"write it with a dot and no quotes, such as {_with_dot(fault.instance)}"
        if "whole" in words:
            hint = (
                "write it without quotes, in a file: --config makes text of what stands in brackets"
            )
    return f"{fault.instance!r} is not {words}; {hint}"


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _with_dot(text: str) -> str:
    # YAML 1.1 takes 5e-5 for text: a number needs a dot in its mantissa
    mantissa, _, exponent = text.lower().partition("e")
    mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{mantissa}e{exponent}" if exponent else mantissa


def _out_of_range(fault: ValidationError) -> str:
    words = {
        "minimum": "must be at least",
        "maximum": "must be at most",
        "exclusiveMinimum": "must be greater than",
        "exclusiveMaximum": "must be less than",
        "pattern": "must match",
        "minItems": "needs this many entries at least:",
        "minProperties": "needs this many entries at least:",
    }
    says = words.get(str(fault.validator))
    if says is None:
        return fault.message
    return f"{fault.instance!r} {says} {fault.validator_value}; correct it"
