"""The body of a request, as a JSON object. Whether it is what the model takes is for the service to say."""

from __future__ import annotations

import json
import re
from typing import Any

from flask import request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from para_attn_server.core.arguments.request import MAX_VALUES, TOO_MUCH
from para_attn_server.core.errors import InvalidInput

_PLAIN = "identity"


def json_object() -> dict[str, Any]:
    """The request's body; raises 415 unless it is declared as JSON, 413 when too large, 400 unless it is an object."""
    if not request.is_json:
        raise UnsupportedMediaType("Send a JSON object of arguments with the header Content-Type: application/json.")
    if request.headers.get("Content-Encoding", _PLAIN).lower() != _PLAIN:
        raise UnsupportedMediaType("Send the body as it is, without a Content-Encoding.")
    data = _received()
    if holds_too_much(data):
        raise InvalidInput([TOO_MUCH])
    try:
        body = _DECODER.decode(data.decode())
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None
    except ValueError as error:
        raise BadRequest(f"The body is not valid JSON in UTF-8: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object of the model's arguments; GET /schema lists them.")
    return body


def _received() -> bytes:
    """The bytes of the body, all of them."""
    length, most = request.content_length, request.max_content_length
    too_large = RequestEntityTooLarge(f"The body may have up to {most} bytes (--max-body).")
    if most is not None and (length or 0) > most:
        raise too_large
    try:
        data = request.get_data(cache=False)
    except (OSError, ParseException):  # what gunicorn raises while it reads from the client
        raise BadRequest("The body ended early, or its chunks are malformed.") from None
    if length is None and most is not None and len(data) >= most:
        raise too_large  # werkzeug cuts a chunked body off at the limit, and says nothing
    if length is not None and len(data) < length:
        raise BadRequest("The body is shorter than its Content-Length.")
    return data


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; two members of one name would mean this here and that elsewhere."""
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("an object has duplicate member names")
    return found


def holds_too_much(data: bytes) -> bool:
    """Whether the body has more values than any request may have, found out before objects are made of them all.

    16 MiB of `[],[],...` take the parser 6 s and 400 MB. Each value comes with a comma and a bracket at the most.
    """
    if _marks(data, 0, len(data)) <= 2 * MAX_VALUES:
        return False
    marks = end = 0
    for strings, string in enumerate(_STRING.finditer(data)):
        marks += _marks(data, end, string.start())
        end = string.end()
        if marks > 2 * MAX_VALUES or strings > MAX_VALUES:
            return True
    return marks + _marks(data, end, len(data)) > 2 * MAX_VALUES


def _marks(data: bytes, start: int, end: int) -> int:
    return data.count(b",", start, end) + data.count(b"[", start, end) + data.count(b"{", start, end)


_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_DECODER = json.JSONDecoder(object_pairs_hook=_unique)
