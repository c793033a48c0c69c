"""Bodies in and out: a request's JSON object, an output as a file or as base64 inside JSON."""

from __future__ import annotations

import json
import re
import unicodedata
from base64 import b64encode
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flask import Response, current_app, request, send_file
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, PreconditionFailed, RequestEntityTooLarge, UnsupportedMediaType

from para_attn_server.core.arguments.request import MAX_VALUES, TOO_MUCH
from para_attn_server.core.errors import FieldError, InvalidInput
from para_attn_server.core.job import Output

NO_FRAMES = "frame-ancestors 'none'"
"""Content-Security-Policy of every answer: no page shows it in a frame."""
MAX_WAIT = 60.0
WAIT_PARAMETER: dict[str, Any] = {
    "name": "wait",
    "in": "query",
    "description": "Hold the answer until the job has ended, or for that many seconds.",
    "schema": {"type": "number", "minimum": 0, "maximum": MAX_WAIT},
}
"""As GET /openapi.json describes it."""
_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,40})?(?:[Ee][+-]?[0-9]{1,4})?")  # as JSON writes them
_PLAIN = "identity"
_BLOCK = 3 << 16  # bytes of a file per piece; a multiple of 3, so that base64 pieces join


def wait_seconds() -> float:
    """The query's `wait`, 0 when left out; raises InvalidInput unless it is a number from 0 to 60."""
    given = request.args.getlist("wait")
    if not given:
        return 0.0
    seconds = float(given[0]) if len(given) == 1 and _NUMBER.fullmatch(given[0]) else -1.0
    if not 0 <= seconds <= MAX_WAIT:
        raise InvalidInput([FieldError("wait", f"must be a number of seconds from 0 to {MAX_WAIT:.0f}")])
    return seconds


def json_object() -> dict[str, Any]:
    """The request's body; raises 415 unless it is declared as JSON, 413 when too large, 400 unless it is an object."""
    if not request.is_json:
        raise UnsupportedMediaType("Send a JSON object of arguments with the header Content-Type: application/json.")
    if request.headers.get("Content-Encoding", _PLAIN).lower() != _PLAIN:
        raise UnsupportedMediaType("Send the body as it is, without a Content-Encoding.")
    data = _received()
    if _holds_too_much(data):
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


def _holds_too_much(data: bytes) -> bool:
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


def output_file(output: Output, opened: BufferedReader) -> Response:
    """The file itself, also in ranges; raises 412 when it is not the one of If-Match. Closes what was opened."""
    with opened as file:  # by its descriptor: another may be at its path by now
        path = f"/proc/self/fd/{file.fileno()}"
        name = Path(output.path).name
        if request.if_match.star_tag:  # true by now, of whatever is there; werkzeug says that it never is
            del request.environ["HTTP_IF_MATCH"]
        if (ranges := request.environ.pop("HTTP_RANGE", None)) is not None and (one := _range(ranges, output.size)):
            request.environ["HTTP_RANGE"] = one
        response = send_file(path, mimetype=output.media_type, download_name=name, conditional=True, etag=output.sha256)
    if not name.isascii():
        response.headers.set("Content-Disposition", "inline", **_names(name))
    if response.status_code == 412:
        response.close()
        raise PreconditionFailed
    # An output is data, whatever its media type: no browser may run a script in it.
    response.headers["Content-Security-Policy"] = f"default-src 'none'; sandbox; {NO_FRAMES}"
    return response


def _range(ranges: str, size: int) -> str | None:
    """A `Range` as werkzeug gives it; None for one that is ignored, as RFC 9110, 14.2, lets a server: of several parts,
    or in a unit that is not known here."""
    if not ranges.lower().startswith("bytes=") or "," in ranges:
        return None
    last = _LAST.fullmatch(ranges.partition("=")[2])
    return "bytes=0-" if last and size and int(last[1]) > size else ranges  # more than there is: all of it (14.1.2)


_LAST = re.compile(r"-([0-9]{1,20})")


def _names(name: str) -> dict[str, str]:
    """A name that is not ASCII as the parameters of Content-Disposition: for old clients, and in full."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    suffix = Path(name).suffix.encode("ascii", "ignore").decode()
    stem = plain.removesuffix(suffix)
    if not any(map(str.isalnum, stem)):  # `.txt` alone would be a hidden file
        stem = "output"
    return {"filename": f"{stem}{suffix}", "filename*": f"UTF-8''{quote(name, safe='')}"}


def output_in_json(output: Output, file: BufferedReader, body: Mapping[str, Any]) -> Response:
    """`body` with the file's base64 as its last member, written piece by piece: a video never lies in memory whole."""
    head = current_app.json.dumps(body)[:-1].encode() + b',"output":"'
    response = Response(_pieces(head, file), mimetype="application/json")
    response.content_length = len(head) + 4 * ((output.size + 2) // 3) + len(_TAIL)
    response.call_on_close(file.close)
    return response


_TAIL = b'"}\n'


def _pieces(head: bytes, file: BufferedReader) -> Iterator[bytes]:
    piece = head + b64encode(file.read(_BLOCK))
    while block := file.read(_BLOCK):
        yield piece
        piece = b64encode(block)
    yield piece + _TAIL
