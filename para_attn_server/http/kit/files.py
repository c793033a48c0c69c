"""Output files in responses: the file itself, or its base64 within text of the dialect's."""

from __future__ import annotations

import re
import unicodedata
from base64 import b64encode
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from urllib.parse import quote

from flask import Response, request, send_file
from werkzeug.exceptions import PreconditionFailed

from para_attn_server.core.job import Output

NO_FRAMES = "frame-ancestors 'none'"
"""Content-Security-Policy of every response: no page shows it in a frame."""
_BLOCK = 3 << 16  # bytes of a file per piece; a multiple of 3, so that base64 pieces join


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


def base64_between(head: bytes, output: Output, file: BufferedReader, tail: bytes, mimetype: str) -> Response:
    """The file's base64 between two texts, written piece by piece: a video never lies in memory whole."""
    response = Response(_pieces(head, file, tail), mimetype=mimetype)
    response.content_length = len(head) + 4 * ((output.size + 2) // 3) + len(tail)
    response.call_on_close(file.close)
    return response


def _pieces(head: bytes, file: BufferedReader, tail: bytes) -> Iterator[bytes]:
    piece = head + b64encode(file.read(_BLOCK))
    while block := file.read(_BLOCK):
        yield piece
        piece = b64encode(block)
    yield piece + tail
