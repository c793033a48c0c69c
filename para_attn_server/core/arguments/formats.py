"""Formats, patterns and multiples, judged as pydantic judges them in the ranks, whatever else is installed.

jsonschema by itself knows a format only where a further package is there, reads `$` as Python does (also before a
newline at the end), and finds that 0.3 is no multiple of 0.1.
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
from pydantic.types import UuidVersion

from para_attn_server.core.arguments.inputs import INPUTS

_TYPES: dict[str, Any] = {
    "date-time": datetime,
    "date": date,
    "time": time,
    "duration": timedelta,
    "uuid": UUID,
    **{f"uuid{version}": Annotated[UUID, UuidVersion(version)] for version in (1, 3, 4, 5, 6, 7, 8)},
    "uri": AnyUrl,
    "ipv4": IPv4Address,
    "ipv6": IPv6Address,
    "base64": bytes,
    **INPUTS,
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
    return TypeAdapter(_TYPES[name], config=ConfigDict(val_json_bytes="base64"))


def multiple_of(validator: Any, step: float, instance: Any, schema: Mapping[str, Any]) -> Iterator[ValidationError]:
    """The keyword `multipleOf` for a jsonschema validator."""
    if not validator.is_type(instance, "number"):
        return
    if schema.get("type") == "integer":
        fits = instance % step == 0
    else:
        try:
            _multiple(float(step)).validate_python(float(instance))
            fits = True
        except ValueError:
            fits = False
    if not fits:
        yield ValidationError(f"{instance!r} is not a multiple of {step!r}")


def pattern(_validator: Any, wanted: str, instance: Any, _schema: Mapping[str, Any]) -> Iterator[ValidationError]:
    """The keyword `pattern` for a jsonschema validator, as Rust's engine reads it: in one pass over the text."""
    if isinstance(instance, str):
        try:
            _pattern(wanted).validate_python(instance)
        except ValueError:
            yield ValidationError(f"the text does not match {wanted!r}")


@cache
def _multiple(step: float) -> TypeAdapter[float]:
    return TypeAdapter(Annotated[float, Field(multiple_of=step)])


@cache
def _pattern(wanted: str) -> TypeAdapter[str]:
    return TypeAdapter(Annotated[str, Field(pattern=wanted)])
