"""What a predictor may emit: the check of a kind and its data, and the bounds. No I/O, no threads."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

TEXT = "text"
"""The kind whose data are pieces of one text: pieces that wait are joined, and none is dropped before other events."""
OF_THE_SERVER = frozenset(
    {
        "queued",
        "position",
        "started",
        "step",
        "log",
        "traceback",
        "cancel_requested",
        "requeued",
        "succeeded",
        "failed",
        "canceled",
        "snapshot",
        "error",
        "message",
        "open",
    }
)
"""Kinds that the server's own events have, or that mean something else to a browser."""
LARGEST_JSON, LARGEST_BINARY = 64 * 1024, 2**20
"""Bytes of one event's data."""
_KIND = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_GIVE = "give text, a number, True, False, None, a list, a dict, or bytes as the whole"


@dataclass(frozen=True, slots=True)
class Emitted:
    """An event. data: JSON in UTF-8, or what the predictor has given as bytes. text: a piece of text, not yet JSON."""

    kind: str
    data: bytes
    binary: bool = False
    text: str | None = None


class TooLarge(ValueError):
    """The data have more bytes than an event may have."""


def checked(kind: object, data: object) -> Emitted:
    """The event; raises TypeError or ValueError, which say what is wrong, and TooLarge."""
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        raise ValueError(
            f"emit({kind!r:.100}): a kind is up to 64 small letters, digits, '.', '_' and '-', such as 'preview'"
        )
    if kind in OF_THE_SERVER:
        raise ValueError(f"emit({kind!r}): the server has events of that kind itself; choose another name")
    if isinstance(data, bytes | bytearray | memoryview):
        return Emitted(kind, _bounded(kind, bytes(data), LARGEST_BINARY), binary=True)
    text = data if kind == TEXT and isinstance(data, str) else None
    if kind == TEXT and text is None:
        raise TypeError(f"emit({TEXT!r}): data must be text, not {type(data).__name__}; other kinds take any JSON")
    return Emitted(kind, _bounded(kind, _json(kind, data), LARGEST_JSON), text=text)


def _json(kind: str, data: Any) -> bytes:
    try:
        return json.dumps(data, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        place, what = _wrong(data, "data", ()) or ("data", f"cannot be written as JSON: {error}")
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"emit({kind!r}): {place} {what}") from None


def _bounded(kind: str, data: bytes, most: int) -> bytes:
    if len(data) > most:
        raise TooLarge(f"emit({kind!r}): {len(data)} bytes of data, and an event may have up to {most}")
    return data


def _wrong(value: Any, place: str, around: tuple[int, ...]) -> tuple[str, str] | None:
    """The first place in a value that JSON does not have, and what is wrong there."""
    if id(value) in around or len(around) > 100:
        return place.partition("[")[0], "is nested in itself, or too deeply"
    if isinstance(value, list | tuple | dict):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in pairs:
            if isinstance(value, dict) and not isinstance(key, str | int | float | None):
                return place, f"has a key of type {type(key).__name__}; keys are text"
            if (found := _wrong(each, f"{place}[{key!r:.100}]", (*around, id(value)))) is not None:
                return found
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return place, f"is {value}, which JSON does not have; give a finite number"
    if isinstance(value, str):
        return None if _is_text(value) else (place, "has a lone surrogate, which is not text")
    if value is None or isinstance(value, bool | int | float):
        return None
    return place, f"is of type {type(value).__name__}, which JSON does not have; {_GIVE}"


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
