"""Says in plain words what a JSON Schema wants: `an integer from 64 to 256, a multiple of 16`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from para_attn_server.core.arguments.inputs import INPUTS, WORDS

_TYPES = {
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "boolean": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_SHOWN = 80
_ENCODER = json.JSONEncoder()


def described(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """What a value of this schema must be. definitions: the whole schema's `$defs`."""
    if "$ref" in schema:
        return described(definitions.get(schema["$ref"].rpartition("/")[2], {}), definitions)
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return " or ".join(described(option, definitions) for option in schema[keyword])
    if "enum" in schema:
        return "one of " + ", ".join(shown(value) for value in schema["enum"])
    if "const" in schema:
        return shown(schema["const"])
    if schema.get("format") in INPUTS:
        return WORDS[schema["format"]]
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else kinds
    words = " or ".join(_TYPES.get(kind, kind) for kind in kinds) or schema.get("title", "another value")
    return ", ".join([words + _range(schema), *_further(schema)])


def _range(schema: Mapping[str, Any]) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f" from {schema['minimum']} to {schema['maximum']}"
    bounds = [
        f"{words} {schema[keyword]}"
        for keyword, words in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        if keyword in schema
    ]
    return f", {' and '.join(bounds)}" if bounds else ""


def _further(schema: Mapping[str, Any]) -> Iterator[str]:
    if "multipleOf" in schema:
        yield f"a multiple of {schema['multipleOf']}"
    for least, most, unit in (
        ("minLength", "maxLength", "characters"),
        ("minItems", "maxItems", "items"),
        ("minProperties", "maxProperties", "members"),
    ):
        if least in schema and most in schema:
            yield f"with {schema[least]} to {schema[most]} {unit}"
        elif least in schema:
            yield f"with at least {schema[least]} {unit}"
        elif most in schema:
            yield f"with at most {schema[most]} {unit}"
    if schema.get("uniqueItems"):
        yield "with no item twice"
    if "patternProperties" in schema:
        yield f"with names matching {' or '.join(schema['patternProperties'])}"
    if "pattern" in schema:
        yield f"matching {schema['pattern']}"
    if "format" in schema:
        yield f"in the format {schema['format']}"


def shown(value: Any) -> str:
    """A value as JSON, cut short: no more of it is written out than is shown."""
    text = ""
    for piece in _ENCODER.iterencode(value[: _SHOWN + 1] if isinstance(value, str) else value):
        text += piece[: _SHOWN + 1]
        if len(text) > _SHOWN:
            return text[: _SHOWN - 3] + "..."
    return text
