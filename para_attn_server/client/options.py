"""What a client wants of a job besides its arguments, as the headers of a request. The server judges it."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Literal

from typing_extensions import TypedDict

from para_attn_server.client.errors import InvalidArgument
from para_attn_server.client.transport import IDEMPOTENCY_KEY


class JobOptions(TypedDict, total=False):
    """Options of `Client.submit`.

    ttl: how long the result is of use; deadline: the same as a moment. priority: its class in the queue. target: when
    the result should be there, which orders the queue and is never a reason to fail. idempotency_key: a name for the
    request; submitted again under it, it is the same job. Durations are seconds or text such as "5m"; moments have a
    time zone.
    """

    ttl: float | str
    deadline: datetime | str
    priority: Literal["low", "normal", "high"]
    target: float | str | datetime
    idempotency_key: str


_HEADERS = {
    "ttl": "Job-TTL",
    "deadline": "Job-Deadline",
    "priority": "Job-Priority",
    "target": "Job-Target",
    "idempotency_key": IDEMPOTENCY_KEY,
}


def headers(options: JobOptions) -> dict[str, str]:
    """The headers; an Idempotency-Key is made up where none is given. Raises InvalidArgument."""
    named = {IDEMPOTENCY_KEY: uuid.uuid4().hex}
    for name, value in options.items():
        if name not in _HEADERS:
            raise InvalidArgument(name, f"is not an option of a job; there are {', '.join(_HEADERS)}")
        named[_HEADERS[name]] = _text(name, value)
    return named


def _text(name: str, value: object) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidArgument(name, "has no time zone; give one such as datetime.UTC")
        return value.isoformat()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:f}s"
    if isinstance(value, str) and value.isascii() and value.isprintable():
        return value
    raise InvalidArgument(name, f"cannot be {value!r:.200}")
