"""Bodies in and out: a request's JSON object, an output as a file or as base64 inside JSON."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from flask import Response, current_app, request, send_file
from werkzeug.exceptions import BadRequest, Gone, RequestEntityTooLarge, UnsupportedMediaType

from para_attn_server.core.errors import FieldError, InvalidInput
from para_attn_server.core.job import Output

MAX_WAIT = 60.0
WAIT_PARAMETER: dict[str, Any] = {
    "name": "wait",
    "in": "query",
    "description": "Hold the answer until the job has ended, or for that many seconds.",
    "schema": {"type": "number", "minimum": 0, "maximum": MAX_WAIT},
}
"""As GET /openapi.json describes it."""
_BLOCK = 3 << 16  # bytes of a file per piece; a multiple of 3, so that base64 pieces join


def wait_seconds() -> float:
    """The query's `wait`, 0 when left out; raises InvalidInput unless it is a number from 0 to 60."""
    text = request.args.get("wait")
    if text is None:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_WAIT:
        raise InvalidInput([FieldError("wait", f"must be a number of seconds from 0 to {MAX_WAIT:.0f}")])
    return seconds


def json_object() -> dict[str, Any]:
    """The request's body; raises 415 unless it is declared as JSON, 413 when too large, 400 unless it is an object."""
    if not request.is_json:
        raise UnsupportedMediaType("Send a JSON object of arguments with the header Content-Type: application/json.")
    data = request.get_data(cache=False)
    if request.content_length is None and len(data) >= (request.max_content_length or len(data) + 1):
        raise RequestEntityTooLarge  # werkzeug cuts a chunked body off at the limit, and says nothing
    try:
        body = json.loads(data.decode())
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None
    except ValueError as error:
        raise BadRequest(f"The body is no valid JSON in UTF-8: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object of the model's arguments; GET /schema lists them.")
    return body


def output_file(output: Output) -> Response:
    """The file itself, also in ranges; raises 410 when it was removed."""
    try:
        response = send_file(output.path, mimetype=output.media_type, conditional=True, etag=output.sha256)
    except FileNotFoundError:
        raise _removed() from None
    # An output is data, whatever its media type: no browser may run a script in it.
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


def output_in_json(output: Output, body: Mapping[str, Any]) -> Response:
    """`body` with the file's base64 as its last member, written piece by piece: a video never lies in memory whole.

    Raises 410 when the file was removed.
    """
    try:
        file = Path(output.path).open("rb")  # noqa: SIM115 - closed with the response
    except FileNotFoundError:
        raise _removed() from None
    size = os.fstat(file.fileno()).st_size
    head = current_app.json.dumps(body)[:-1].encode() + b',"output":"'
    response = Response(_pieces(head, file), mimetype="application/json")
    response.content_length = len(head) + 4 * ((size + 2) // 3) + len(_TAIL)
    response.call_on_close(file.close)
    return response


_TAIL = b'"}\n'


def _pieces(head: bytes, file: BinaryIO) -> Iterator[bytes]:
    piece = head + b64encode(file.read(_BLOCK))
    while block := file.read(_BLOCK):
        yield piece
        piece = b64encode(block)
    yield piece + _TAIL


def _removed() -> Gone:
    return Gone("The output's file was removed from the server.")
