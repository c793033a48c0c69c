"""The query of GET /jobs: which jobs, how many, and from where."""

from __future__ import annotations

import math
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from flask import request

from para_attn_server.core.errors import FieldError, InvalidInput
from para_attn_server.core.job import JobStatus
from para_attn_server.http.native.headers import past_or_future
from para_attn_server.stores.base import JobFilter, Place

_MOST, _USUAL = 100, 20
_PLACE = re.compile(r"([0-9.e+-]{1,40}) ([0-9]{1,18})")
_LIMIT = re.compile(r"[0-9]{1,3}")
_STATUSES = [status.value for status in JobStatus]
_MOMENT = "a moment in Unix seconds, or in RFC 3339 with its zone."


def _parameter(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string", **schema}}


LIST_PARAMETERS = (
    _parameter("status", "Only jobs of this status.", enum=_STATUSES),
    _parameter("model", "Only jobs of this model."),
    _parameter("owner", "Only jobs of this owner."),
    _parameter("created_after", f"Only jobs that were accepted after {_MOMENT}"),
    _parameter("created_before", f"Only jobs that were accepted before {_MOMENT}"),
    _parameter("limit", "How many jobs, at most.", type="integer", minimum=1, maximum=_MOST, default=_USUAL),
    _parameter("cursor", "The `next_cursor` of the page before."),
)
"""As OpenAPI describes them."""


def wanted() -> tuple[JobFilter, int, Place | None]:
    """The filters, how many jobs, and behind which place; raises InvalidInput, which names the parameter."""
    given = {name: _one(name) for name in request.args}
    status, limit = given.get("status"), given.get("limit")
    if status is not None and status not in _STATUSES:
        raise _wrong("status", f"must be one of {', '.join(_STATUSES)}")
    if limit is not None and not (_LIMIT.fullmatch(limit) and 1 <= int(limit) <= _MOST):
        raise _wrong("limit", f"must be an integer from 1 to {_MOST}")
    moments = {
        name: past_or_future(name, text) for name, text in given.items() if name in ("created_after", "created_before")
    }
    found = JobFilter(None if status is None else JobStatus(status), given.get("model"), given.get("owner"), **moments)
    return found, _USUAL if limit is None else int(limit), _place(given.get("cursor"))


def cursor(place: Place) -> str:
    """A place in the list, for clients that need not know what it is."""
    return urlsafe_b64encode(f"{place[0]!r} {place[1]}".encode()).decode().rstrip("=")


def _place(text: str | None) -> Place | None:
    if text is None:
        return None
    try:
        found = _PLACE.fullmatch(urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
        place = found and (float(found[1]), int(found[2]))
    except ValueError:
        place = None
    if not place or not math.isfinite(place[0]):
        raise _wrong("cursor", "must be the next_cursor of an earlier response")
    return place


def _one(name: str) -> str:
    """The value of a parameter that may be given once. A filter that is not known must not seem to have worked."""
    known = [parameter["name"] for parameter in LIST_PARAMETERS]
    if name not in known:
        raise _wrong(name, f"is an unknown parameter; known: {', '.join(known)}")
    text, *further = request.args.getlist(name)
    if further:
        raise _wrong(name, "may be given once")
    return text


def _wrong(name: str, detail: str) -> InvalidInput:
    return InvalidInput([FieldError(name, detail)])
