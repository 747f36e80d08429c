"""Check a configuration with its JSON Schema, and explain errors in words."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import jsonschema

from skipclm.errors import InputError, suggestion

TYPES = {
    "object": "keys with values",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
RULES = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "maxLength": "at most {} characters",
    "minItems": "at least {} in the list",
    "minProperties": "at least {} under the key",
    "uniqueItems": "a list without repeats",
}
QUOTE = "put it in quotes"
UNQUOTE = "remove the quotes; as --config reads values in braces as text, use a file and --configfile instead"
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
DEPTH = 32  # the maximum depth of nested values; the configuration has fewer than ten levels


def _check_pattern(_: object, pattern: str, value: object, __: dict) -> Iterator[jsonschema.ValidationError]:
    r"""Search a pattern as JSON Schema defines it: `$` is only the end, and `\d` an ASCII digit.

    In Python, `$` also matches before a line break at the end, so the name "demo\n" would pass.
    """
    if isinstance(value, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), value, re.ASCII):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


# In JSON Schema, 1000.0 is an integer; for `range` in Python, it is not.
VALIDATOR = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    {"pattern": _check_pattern},
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int),
)


def check(config: dict, schema: dict) -> None:
    """Raise an `InputError` for the first key that does not match the schema."""
    _check_plain(config, [])
    errors = [cause for error in VALIDATOR(schema).iter_errors(config) for cause in _causes(error)]
    if errors:
        raise InputError(_explain(min(errors, key=lambda error: list(map(str, error.absolute_path)))))


def make_floats(config: dict, schema: dict, definitions: dict | None = None) -> None:
    """Convert values of the schema type `number` to floats in place.

    Snakemake compares parameters as text, and 4 instead of 4.0 must cause no rerun. Layers are not converted, because a
    float there is a fraction; the schema has no single type for them.
    """
    definitions = definitions or schema.get("$defs", {})
    for key, value in config.items():
        rule = schema.get("properties", {}).get(key) or schema.get("additionalProperties") or {}
        if "$ref" in rule:
            rule = definitions[rule["$ref"].rpartition("/")[2]]
        if isinstance(value, dict):
            make_floats(value, rule, definitions)
        elif rule.get("type") == "number":
            config[key] = float(value)


def _check_plain(value: Any, path: list[str], depth: int = 0) -> None:
    """Raise an `InputError` for values that YAML allows and a schema cannot forbid.

    These are keys that are not text, NaN, infinity, and values nested without end.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{_name(path)}: expected a finite number, found {value}; correct it, or quote a text")
    if depth > DEPTH:
        raise InputError(
            f"{_name(path[:3])}: expected at most {DEPTH} values within each other, found more; remove them, or the "
            "YAML alias (*) that makes a value a part of itself"
        )
    if isinstance(value, list):
        for entry in value:
            _check_plain(entry, path, depth + 1)
    if isinstance(value, dict):
        for key, entry in value.items():
            if not isinstance(key, str):
                raise InputError(
                    f"{_name(path)}: expected keys that are text, found {_show(key)}; YAML reads no, on, yes, off and "
                    "numbers as something else, so put the key in quotes"
                )
            _check_plain(entry, [*path, key], depth + 1)


def _causes(error: jsonschema.ValidationError) -> list[jsonschema.ValidationError]:
    """Return the error; if no kind of source matches, return the errors for the kind that the source names."""
    if error.validator != "oneOf":
        return [error]
    other_kinds = {cause.schema_path[0] for cause in error.context if cause.validator == "const"}
    return [cause for cause in error.context if cause.schema_path[0] not in other_kinds]


def _explain(error: jsonschema.ValidationError) -> str:
    """Explain which key is wrong, what was expected, what was found, and what to do."""
    path = [step for step in error.absolute_path if isinstance(step, str)]
    value, rule = error.instance, error.validator_value
    description = error.schema.get("description", "").rstrip(".")
    if error.validator == "additionalProperties":
        keys = list(error.schema["properties"])
        unknown = next(name for name in value if name not in keys)
        remedy = suggestion(unknown, keys)
        if remedy == "correct it" and path[:2] == ["corpus", "sources"]:
            remedy = "give a source of another kind a name of its own, since sections merge"
        return f"{_name(path)}: unknown key {unknown!r}; {remedy}, or remove it. Known keys: {', '.join(keys)}"
    if error.validator == "required":
        missing = next(name for name in rule if name not in value)
        return f"{_name([*path, missing])}: expected a value, found no such key; add it"
    if error.validator == "type":
        expected = " or ".join(TYPES[name] for name in ([rule] if isinstance(rule, str) else rule))
    elif error.validator == "enum":
        expected = f"one of {', '.join(rule)}"
    elif error.validator in RULES:
        expected = RULES[error.validator].format(rule)
    else:  # a pattern or a choice of types, explained by the description
        expected, description = description[:1].lower() + description[1:], ""
    meaning = f" ({description})" if description else ""
    return f"{_name(path)}: expected {expected}{meaning}, found {_show(value)}; {_remedy(error)}"


def _remedy(error: jsonschema.ValidationError) -> str:
    value, types = error.instance, error.validator_value if error.validator == "type" else ()
    if error.validator == "enum":
        return suggestion(str(value), error.validator_value)
    if value is None:
        is_entry = isinstance(error.absolute_path[-1], int)
        return "correct it" if is_entry else "give it a value, or leave the key out to keep the default"
    if "number" in types or "integer" in types:
        if isinstance(value, str) and (number := NUMBER.fullmatch(value)):
            if number[2] and "number" in types:
                return "write dot and sign, as in 1.0e-3, because YAML reads it as text"
            return "write it without dot, exponent and quotes" if number[2] else UNQUOTE
        if isinstance(value, float) and value.is_integer():
            return "write it without dot and exponent"
    if (value in ("true", "false") and "boolean" in types) or (value == "null" and "null" in types):
        return UNQUOTE
    if "string" in types and not isinstance(value, list | dict):
        return _quotes(error)
    if error.validator == "maxLength":
        return "shorten it"
    return "correct it"


def _quotes(error: jsonschema.ValidationError) -> str:
    """Return advice on how to write a value so that YAML reads it as a string.

    On the command line, quotes do not help, because Snakemake removes them.
    """
    if len(error.absolute_path) != 1:  # values in braces are text already
        return QUOTE
    text = error.instance if type(error.instance) is int else "..."  # an integer keeps its form
    return f"{QUOTE} in a file; on the command line write --config '{error.absolute_path[0]}=!!str {text}'"


def _name(path: list[str]) -> str:
    return ".".join(path) or "the configuration"


def _show(value: Any) -> str:
    """Return a value as the configuration spells it, cut if it is long."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
