"""From Python values to what a request can hold. Whether the model takes them is for the server to say."""

from __future__ import annotations

import math
import re
from base64 import b64encode
from typing import Any

from para_attn_server.client.errors import InvalidArgument

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_KINDS = "give text, a number, True, False, None, bytes, a list or a dict"


def as_json(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments as JSON has them: bytes in base64, numpy's scalars as numbers; raises InvalidArgument by name."""
    found = {}
    for name, value in arguments.items():
        try:
            found[name] = _plain(value, name)
        except RecursionError:
            raise InvalidArgument(name, "is nested too deeply") from None
    return found


def checked_id(request_id: Any) -> str:
    """The request id; raises InvalidArgument for what cannot be one."""
    if isinstance(request_id, str) and _REQUEST_ID.fullmatch(request_id):
        return request_id
    raise InvalidArgument("request_id", f"is not a request id: {request_id!r:.200}")


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b64encode(value).decode()
    if isinstance(value, (list, tuple)):
        return [_plain(part, f"{name}/{index}") for index, part in enumerate(value)]
    if isinstance(value, dict):
        return {_key(key, name): _plain(part, f"{name}/{key}") for key, part in value.items()}
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        value = value.item()
    return _scalar(value, name)


def _key(key: Any, name: str) -> Any:
    if not isinstance(key, (str, int)):
        raise InvalidArgument(name, f"has a key that is not text: {key!r:.200}")
    return _scalar(key, name)


def _scalar(value: Any, name: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidArgument(name, f"is {value}, which JSON does not have; give a finite number")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument(name, f"has a lone surrogate at character {error.start}, which is not text") from None
    elif value is not None and not isinstance(value, (bool, int, float)):
        raise InvalidArgument(name, f"is of type {type(value).__name__}, which JSON does not have; {_KINDS}")
    return value
