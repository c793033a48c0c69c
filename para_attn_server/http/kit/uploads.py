"""Files in requests: a body that is a file, and the parts of a form, read block by block. Only text is kept in memory.

What becomes of a file is the service's to say. The names and types that clients give to files are not looked at.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

from flask import current_app, request
from gunicorn.http.errors import ParseException
from werkzeug.datastructures import Headers
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.sansio import multipart

from para_attn_server.core.arguments.inputs import no_file
from para_attn_server.core.arguments.request import TOO_MUCH
from para_attn_server.core.arguments.texts import is_list, read_text, takes_bytes
from para_attn_server.core.errors import FieldError, InvalidInput, UploadTooLarge
from para_attn_server.core.uploads import Upload
from para_attn_server.http.kit.bodies import holds_too_much
from para_attn_server.http.kit.callers import caller
from para_attn_server.service.model_info import ModelInfo
from para_attn_server.service.service import JobService

MAX_UPLOAD = "MAX_UPLOAD"
"""Where the app's configuration has --max-upload."""
FORM = "multipart/form-data"
_BLOCK = 1 << 16
_MOST_PARTS = 1000
_HEADERS = 1 << 16


def is_form() -> bool:
    """Whether the request's body is a form with files."""
    return request.mimetype == FORM


def upload(service: JobService) -> Upload:
    """Keep the file that the request sends: its body, or the one file of a form."""
    most = current_app.config[MAX_UPLOAD]
    if not is_form():
        if (request.content_length or 0) > most:
            raise UploadTooLarge(most)
        return service.upload(caller(), _blocks())
    kept = [service.upload(caller(), part.blocks(), "#/file") for part in parts() if part.is_file]
    if len(kept) != 1:
        raise InvalidInput([FieldError("#/file", f"send one file in the form, not {len(kept)}")])
    return kept[0]


def form_arguments(service: JobService, model: str | None = None) -> dict[str, Any]:
    """That model's arguments from a form: files become uploads, other parts are texts, read as the schema wants it.

    A part of type application/json is JSON. Several parts of one name, with or without `[]` behind it, are a list.
    """
    info = service.model_info(caller(), model)
    found: dict[str, list[Any]] = {}
    left = current_app.config["MAX_CONTENT_LENGTH"]
    for part in parts():
        name = part.name.removesuffix("[]")
        if part.is_file and name in info.inputs:
            value = service.upload(caller(), part.blocks(), f"#/{name}").digest
        else:
            data = part.data(left)
            left -= len(data)
            value = _bytes_of(name, data, info) if part.is_file else _value_of(name, data, part.is_json, info.schema)
        found.setdefault(name, []).append(value)
    return {name: _joined(name, values, is_list(name, info.schema)) for name, values in found.items()}


def _bytes_of(name: str, data: bytes, info: ModelInfo) -> str:
    """The content of a file whose argument is no picture, video or sound."""
    if takes_bytes(name, info.schema):
        return b64encode(data).decode()
    raise _wrong(name, no_file(info.inputs))


def _value_of(name: str, data: bytes, is_json: bool, schema: dict[str, Any]) -> Any:
    """What a text stands for."""
    if data.lstrip()[:1] in (b"[", b"{") and holds_too_much(data):
        raise InvalidInput([TOO_MUCH])
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise _wrong(name, "must be text in UTF-8") from None
    if not is_json:
        return read_text(text, name, schema)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise _wrong(name, "is not valid JSON, as its Content-Type says") from None


def _wrong(name: str, detail: str) -> InvalidInput:
    return InvalidInput([FieldError(f"#/{name[:100]}", detail)])


def _joined(name: str, values: list[Any], is_list: bool) -> Any:
    if is_list and values != [None]:
        return [each for value in values for each in (value if isinstance(value, list) else [value])]
    if len(values) > 1:
        raise _wrong(name, f"is given {len(values)} times; it takes one value")
    return values[0]


class Part:
    """One part of a form; its content must be taken before the next one's. is_file: it has a file name, as files have
    and fields do not, whatever type they declare."""

    def __init__(self, name: str, is_file: bool, headers: Headers, blocks: Iterator[bytes]) -> None:
        self.name, self.is_file, self._blocks = name, is_file, blocks
        self.is_json = headers.get("Content-Type", "").partition(";")[0].strip().lower() == "application/json"

    def blocks(self) -> Iterator[bytes]:
        """The content."""
        return self._blocks

    def data(self, most: int) -> bytes:
        """The content as a whole; raises 413 for more than so many bytes."""
        found = bytearray()
        for block in self._blocks:
            found += block
            if len(found) > most:
                raise RequestEntityTooLarge(_too_large())
        return bytes(found)


def parts() -> Iterator[Part]:
    """The parts of the request's form, as they come. Raises 400 for a form that is malformed, 413 for one too large."""
    boundary = request.mimetype_params.get("boundary", "")
    if not boundary.isascii() or not boundary:
        raise BadRequest("A form needs a boundary in its Content-Type.")
    most = current_app.config[MAX_UPLOAD] + current_app.config["MAX_CONTENT_LENGTH"]
    if (request.content_length or 0) > most:
        raise RequestEntityTooLarge(_too_large())
    events = _events(boundary.encode(), most)
    for event in events:
        if not isinstance(event, multipart.Field | multipart.File):
            continue
        content = _content(events)
        yield Part(event.name or "", isinstance(event, multipart.File), event.headers, content)
        for _ in content:  # what nobody has wanted
            pass


def _content(events: Iterator[multipart.Event]) -> Iterator[bytes]:
    for event in events:
        assert isinstance(event, multipart.Data)
        yield event.data
        if not event.more_data:
            return


def _events(boundary: bytes, most: int) -> Iterator[multipart.Event]:
    decoder = multipart.MultipartDecoder(boundary, max_form_memory_size=_HEADERS + _BLOCK, max_parts=_MOST_PARTS)
    blocks, received = _blocks(), 0
    try:
        while True:
            event = decoder.next_event()
            if isinstance(event, multipart.NeedData):
                block = next(blocks, None)
                received += len(block or b"")
                if received > most:
                    raise RequestEntityTooLarge(_too_large())
                decoder.receive_data(block)
            else:
                yield event
            if isinstance(event, multipart.Epilogue):
                return
    except HTTPException:
        raise
    except ValueError:
        raise BadRequest("The form is malformed, or ends early.") from None


def _blocks() -> Iterator[bytes]:
    """The request's body; raises 415 where it is encoded."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Send files as they are, without a Content-Encoding.")
    request.max_content_length = None  # what reads it counts
    connection: Any = request.environ.get("gunicorn.socket")
    if hasattr(connection, "expect_upload"):
        connection.expect_upload(current_app.config[MAX_UPLOAD])
    length, received = request.content_length, 0
    try:
        while block := request.stream.read(_BLOCK):
            received += len(block)
            yield block
    except (OSError, ParseException):  # what gunicorn raises while it reads from the client
        raise BadRequest("The body ended early, or its chunks are malformed.") from None
    if length is not None and received < length:
        raise BadRequest("The body is shorter than its Content-Length.")


def _too_large() -> str:
    files, texts = current_app.config[MAX_UPLOAD], current_app.config["MAX_CONTENT_LENGTH"]
    return f"The files of a form may have up to {files} bytes (--max-upload), its other parts {texts} (--max-body)."
