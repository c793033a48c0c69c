"""Formats and patterns of text, judged as pydantic judges them in the ranks, whatever else is installed.

jsonschema by itself knows a format only where a further package is there, and reads `$` as Python does: also before a
newline at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any
from uuid import UUID

from jsonschema import FormatChecker
from jsonschema.exceptions import ValidationError
from pydantic import AnyUrl, ConfigDict, Field, TypeAdapter
from pydantic_core import SchemaError

LONGEST_FOR_PYTHON = 1000
"""Characters of a text on which a pattern is tried that only Python's engine has: it may take their square."""
_TYPES: dict[str, Any] = {
    "date-time": datetime,
    "date": date,
    "time": time,
    "duration": timedelta,
    "uuid": UUID,
    "uri": AnyUrl,
    "ipv4": IPv4Address,
    "ipv6": IPv6Address,
}


def format_checker() -> FormatChecker:
    """Knows the formats by which pydantic describes its types; passes every other one."""
    checker = FormatChecker(formats=())
    for name in _TYPES:
        checker.checks(name, raises=ValueError)(lambda value, name=name: _is_format(name, value))
    return checker


def _is_format(name: str, value: object) -> bool:
    if isinstance(value, str):
        _format(name).validate_json(json.dumps(value), strict=True)
    return True


@cache
def _format(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(_TYPES[name])


def pattern(_validator: Any, wanted: str, instance: Any, _schema: Mapping[str, Any]) -> Iterator[ValidationError]:
    """The keyword `pattern` for a jsonschema validator."""
    if isinstance(instance, str) and not _fits(wanted, instance):
        yield ValidationError(f"the text does not match {wanted!r}")


def pattern_properties(
    validator: Any, wanted: Mapping[str, Any], instance: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    """The keyword `patternProperties`, by which pydantic describes the keys of a dict; any other key is refused.

    jsonschema's own asks Python's engine, which never comes to an end with some patterns that are harmless in Rust's.
    """
    for name, value in instance.items() if isinstance(instance, dict) else ():
        fitting = [known for known in wanted if _fits(known, name)]
        for known in fitting:
            yield from validator.descend(value, wanted[known], path=name, schema_path=known)
        if not fitting and "additionalProperties" not in schema:
            yield ValidationError("a name matches no pattern")


def _fits(wanted: str, text: str) -> bool:
    try:
        _pattern(wanted).validate_python(text)
    except ValueError:
        return False
    return True


@cache
def _pattern(wanted: str) -> TypeAdapter[str]:
    try:
        return TypeAdapter(Annotated[str, Field(pattern=wanted)])  # Rust's engine reads a text in one pass
    except SchemaError:  # Rust has no such pattern, so the model that has it asks for Python's engine
        bounded = Annotated[str, Field(pattern=wanted, max_length=LONGEST_FOR_PYTHON)]
        return TypeAdapter(bounded, config=ConfigDict(regex_engine="python-re"))
