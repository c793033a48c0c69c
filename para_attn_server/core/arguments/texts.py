"""From texts, as command lines and forms have them, to the JSON values of a request. Nothing is checked here but that
a text can be read as the kind of value that the schema asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from para_attn_server.core.arguments.schema import options_of


def read_text(text: str, name: str, schema: Mapping[str, Any]) -> Any:
    """The value of the argument of that name: the text where only text is allowed, else what it reads as in JSON, else
    the text."""
    kinds = _kinds(name, schema)
    if kinds - {"null"} == {"string"} and not ("null" in kinds and text == "null"):
        return text
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text


def is_list(name: str, schema: Mapping[str, Any]) -> bool:
    """Whether the argument takes a list."""
    return "array" in _kinds(name, schema)


def takes_bytes(name: str, schema: Mapping[str, Any]) -> bool:
    """Whether the argument takes any bytes at all, in base64."""
    declared = schema.get("properties", {}).get(name, {})
    return any(option.get("format") == "base64" for option in options_of(declared, schema.get("$defs", {})))


def _kinds(name: str, schema: Mapping[str, Any]) -> set[str]:
    declared = schema.get("properties", {}).get(name, {})
    found: set[str] = set()
    for option in options_of(declared, schema.get("$defs", {})):
        kinds = option.get("type", ())
        found |= {kinds} if isinstance(kinds, str) else set(kinds)
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"JSON has no {text}")
