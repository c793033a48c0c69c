"""What a client wants besides a job's arguments, as headers and queries of requests. The server judges it."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any, Literal

from typing_extensions import TypedDict

from para_attn_server.client.arguments import as_json
from para_attn_server.client.errors import InvalidArgument
from para_attn_server.client.transport import IDEMPOTENCY_KEY


class JobOptions(TypedDict, total=False):
    """Options of `Client.submit`.

    model: the short name of the job's model, where a server has several; default: its first one. ttl: how long the
    result is of use; deadline: the same as a moment. priority: its class in the queue. target: when the result should
    be there, which orders the queue and is never a reason to fail. idempotency_key: a name for the request; submitted
    again under it, it is the same job. metadata: notes of your own, which the job shows. Durations are seconds or text
    such as "5m"; moments have a time zone.
    """

    model: str
    ttl: float | str
    deadline: datetime | str
    priority: Literal["low", "normal", "high"]
    target: float | str | datetime
    idempotency_key: str
    metadata: dict[str, Any]


_HEADERS = {
    "model": "Job-Model",
    "ttl": "Job-TTL",
    "deadline": "Job-Deadline",
    "priority": "Job-Priority",
    "target": "Job-Target",
    "idempotency_key": IDEMPOTENCY_KEY,
    "metadata": "Job-Metadata",
}


def headers(options: JobOptions) -> dict[str, str]:
    """The headers; an Idempotency-Key is made up where none is given. Raises InvalidArgument."""
    named = {IDEMPOTENCY_KEY: uuid.uuid4().hex}
    for name, value in options.items():
        if name not in _HEADERS:
            raise InvalidArgument(name, f"is not an option of a job; there are {', '.join(_HEADERS)}")
        named[_HEADERS[name]] = _notes(value) if name == "metadata" else _text(name, value)
    return named


class JobFilters(TypedDict, total=False):
    """Filters of `Client.jobs`. Moments are Unix seconds, or have a time zone."""

    status: Literal["queued", "running", "succeeded", "failed", "canceled"]
    model: str
    owner: str
    created_after: float | str | datetime
    created_before: float | str | datetime


_FILTERS = tuple(JobFilters.__annotations__)


def query(filters: JobFilters) -> dict[str, str]:
    """The query of a list of jobs. Raises InvalidArgument."""
    found = {}
    for name, value in filters.items():
        if name not in _FILTERS:
            raise InvalidArgument(name, f"is not a filter of jobs; there are {', '.join(_FILTERS)}")
        found[name] = repr(value) if _is_number(value) else _text(name, value)
    return found


def _notes(value: object) -> str:
    if not isinstance(value, dict):
        raise InvalidArgument("metadata", f"cannot be {value!r:.200}; give a dict")
    return json.dumps(as_json({"metadata": value})["metadata"], separators=(",", ":"))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(name: str, value: object) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidArgument(name, "has no time zone; give one such as datetime.UTC")
        return value.isoformat()
    if _is_number(value):
        return f"{value:f}s"
    if isinstance(value, str) and value.isascii() and value.isprintable():
        return value
    raise InvalidArgument(name, f"cannot be {value!r:.200}")
