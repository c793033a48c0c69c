"""Server-sent events, as browsers read them (EventSource): frames of text, and comments while nothing happens.

What is in them is the dialect's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

from flask import Response, request

from para_attn_server.http.kit.jsons import dumps

EVENT_STREAM = "text/event-stream"
RETRY_MILLISECONDS = 2000
"""After how long a client comes back whose stream has ended."""
LAST_EVENT_ID: dict[str, Any] = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The `id` of the last event that was seen; browsers send it by themselves.",
    "schema": {"type": "string"},
}
"""As OpenAPI describes it."""
_LONGEST_ID = 100
_BREAKS = {ord(each): f"\\u{ord(each):04x}" for each in "\x85\u2028\u2029"}
"""At which some clients break lines, against the standard; other line breaks JSON does not have."""
T = TypeVar("T")


def last_event_id() -> str | None:
    """The id behind which the client goes on, None at its first request."""
    text = request.headers.get(LAST_EVENT_ID["name"])
    return None if not text else text[:_LONGEST_ID]


def frame(event: str, data: Any, event_id: str | None = None) -> bytes:
    """One event. data: JSON values."""
    head = "" if event_id is None else f"id: {event_id}\n"
    return f"{head}event: {event}\ndata: {dumps(data).translate(_BREAKS)}\n\n".encode()


def no_content() -> Response:
    """In place of a stream: there will be no more events, and a browser does not come back."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def event_stream(events: Iterable[T | None], framed: Callable[[T], bytes]) -> Response:
    """The events as they come. None among them: a comment, so that nobody on the way takes the stream for dead."""

    def body() -> Generator[bytes, None, None]:
        try:
            yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
            for event in events:
                yield b": still here\n\n" if event is None else framed(event)
        finally:
            if isinstance(events, Generator):
                events.close()  # the client has gone

    response = Response(body(), mimetype=EVENT_STREAM)
    response.headers["X-Accel-Buffering"] = "no"  # or nginx would gather events for a while
    return response
