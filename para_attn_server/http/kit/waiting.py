"""How long a request wants to be held until its job has ended: in its query, or as a preference (RFC 7240)."""

from __future__ import annotations

import re
from typing import Any

from flask import request

from para_attn_server.core.errors import FieldError, InvalidInput

MAX_WAIT = 60.0
WAIT_PARAMETER: dict[str, Any] = {
    "name": "wait",
    "in": "query",
    "description": "Hold the response until the job has ended, or for that many seconds.",
    "schema": {"type": "number", "minimum": 0, "maximum": MAX_WAIT},
}
"""As OpenAPI describes it."""
_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,40})?(?:[Ee][+-]?[0-9]{1,4})?")  # as JSON writes them
PREFER_PARAMETER: dict[str, Any] = {
    "name": "Prefer",
    "in": "header",
    "description": "`wait` or `wait=SECONDS` (RFC 7240): as the query's `wait`, which counts where both are given.",
    "schema": {"type": "string"},
}
_PREFERENCE = re.compile(r'(?:^|,)\s*wait\s*(?:=\s*"?([0-9]{1,9})"?)?\s*(?:;[^,]*)?(?=,|$)', re.IGNORECASE)


def wait_seconds() -> float:
    """The query's `wait`, 0 when left out; raises InvalidInput unless it is a number from 0 to 60."""
    given = request.args.getlist("wait")
    if not given:
        return 0.0
    seconds = float(given[0]) if len(given) == 1 and _NUMBER.fullmatch(given[0]) else -1.0
    if not 0 <= seconds <= MAX_WAIT:
        raise InvalidInput([FieldError("wait", f"must be a number of seconds from 0 to {MAX_WAIT:.0f}")])
    return seconds


def wait_or_preference() -> float:
    """The query's `wait`, else what the header Prefer has, of which too much or nothing is the most; else 0.

    A preference is never an error: one that makes no sense counts as left out.
    """
    if request.args.get("wait") is not None:
        return wait_seconds()
    found = _PREFERENCE.search(request.headers.get("Prefer", ""))
    if found is None:
        return 0.0
    return MAX_WAIT if found[1] is None else min(MAX_WAIT, float(found[1]))
