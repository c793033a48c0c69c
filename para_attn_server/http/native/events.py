"""A job's events in the native dialect. The stream itself is the service's (service/job_events.py)."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from typing import Any, NotRequired

from flask import Response
from typing_extensions import TypedDict

from para_attn_server.core.errors import ServerError
from para_attn_server.core.media_types import UNKNOWN
from para_attn_server.http.kit.sse import event_stream, frame
from para_attn_server.http.native.views import JobSummary
from para_attn_server.service.job_events import SNAPSHOT, JobEvent, Stream

_SIGNATURES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"GIF8": "image/gif", b"RIFF": "image/webp"}


class EventBody(TypedDict):
    """The data of one event. data: of that type; null where the predictor has emitted bytes, which are in base64."""

    type: str
    at: float
    data: Any
    base64: NotRequired[str]
    media_type: NotRequired[str]


def events_response(stream: Stream, summary: Callable[[], JobSummary]) -> Response:
    """The stream as server-sent events. summary: of the job now, for a snapshot and the end."""

    def framed(event: JobEvent) -> bytes:
        body: dict[str, Any] = {"type": event.type, "at": round(event.at, 6), "data": event.data}
        if event.last or event.type == SNAPSHOT:
            body["data"] = {**event.data, "job": _summary(summary)}
        if event.base64 is not None:
            body |= {"base64": event.base64, "media_type": media_type(event.base64)}
        return frame(event.type, body, event.id)

    return event_stream(stream, framed)


def media_type(base64: str) -> str:
    """Of bytes, by how they begin: what a page needs to show a preview."""
    start = b64decode(base64[:16])
    kind = next((kind for signature, kind in _SIGNATURES.items() if start.startswith(signature)), None)
    if kind is None or (kind == "image/webp" and start[8:] != b"WEBP"):
        return UNKNOWN
    return kind


def _summary(summary: Callable[[], JobSummary]) -> JobSummary | None:
    try:
        return summary()
    except ServerError:  # deleted meanwhile, or the store cannot be read now
        return None
