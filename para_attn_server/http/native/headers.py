"""What a request says of its job in headers: the body belongs to the predictor."""

from __future__ import annotations

import json
import math
import re
import time
from datetime import datetime
from typing import Any, NoReturn

from flask import request

from para_attn_server.core.errors import FieldError, InvalidInput
from para_attn_server.core.job import Priority
from para_attn_server.core.models import SHORT_NAME
from para_attn_server.core.settings import parse_duration

_KEY = re.compile(r"[!-~]{1,255}")
_PRIORITIES = {priority.name.lower(): priority for priority in Priority}
_MOST_METADATA, _MOST_DIGITS = 4096, 300
_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")
_LONGEST = 36500 * 86400.0
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ](?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII
)  # fromisoformat() reads all of ISO 8601, such as weeks and times without colons
_DATE = re.compile(r"\d{4}-", re.ASCII)
_LEAP_SECOND = re.compile(r"(.{10}[Tt ]\d\d:\d\d:)60((?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d))", re.ASCII)

_MODEL = {"type": "string", "pattern": f"^{SHORT_NAME.pattern}$"}
PARAMETERS: tuple[dict[str, Any], ...] = (
    {
        "name": "Job-Model",
        "in": "header",
        "description": "The model of the job, as GET /models names it. Default: the first of these.",
        "schema": _MODEL,
    },
    {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The client's name for the request; the same key and body give the same job.",
        "schema": {"type": "string", "pattern": f"^{_KEY.pattern}$"},
    },
    {
        "name": "Job-TTL",
        "in": "header",
        "description": "How long the result is of use, such as 30s or 5m; not together with Job-Deadline.",
        "schema": {"type": "string"},
    },
    {
        "name": "Job-Deadline",
        "in": "header",
        "description": "The same as a moment in RFC 3339 with its zone, in the future.",
        "schema": {"type": "string", "format": "date-time"},
    },
    {
        "name": "Job-Priority",
        "in": "header",
        "description": "The class of the job: those of a higher one start first.",
        "schema": {"type": "string", "enum": list(_PRIORITIES), "default": "normal"},
    },
    {
        "name": "Job-Metadata",
        "in": "header",
        "description": "The client's own notes: a JSON object of up to 4096 bytes, which the job shows.",
        "schema": {"type": "string"},
    },
    {
        "name": "Job-Target",
        "in": "header",
        "description": "When the result should be there, such as 30s, or a moment as in Job-Deadline; never a reason "
        "to fail.",
        "schema": {"type": "string"},
    },
)
"""As GET /openapi.json describes them."""


MODEL_PARAMETER: dict[str, Any] = {
    "name": "model",
    "in": "query",
    "description": "The model that is meant, as GET /models names it.",
    "schema": _MODEL,
}


def model() -> str | None:
    """`Job-Model`: the short name of a model, None without it."""
    return request.headers.get("Job-Model")


def model_meant() -> str | None:
    """The query's `model`, None without it; raises InvalidInput where it is given twice."""
    names = request.args.getlist("model")
    if len(names) > 1:
        raise _wrong("model", "may be given once")
    return names[0] if names else None


def idempotency_key() -> str | None:
    """`Idempotency-Key`: the client's name for the request, up to 255 visible ASCII characters."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise _wrong("Idempotency-Key", "must be 1 to 255 visible ASCII characters")
    return key


def priority() -> Priority:
    """`Job-Priority`: low, normal (without the header) or high."""
    text = request.headers.get("Job-Priority")
    if text is not None and text not in _PRIORITIES:
        raise _wrong("Job-Priority", "must be low, normal or high")
    return Priority.NORMAL if text is None else _PRIORITIES[text]


def target() -> float | None:
    """Unix seconds by which the job should be done, from `Job-Target`; None without it."""
    text = request.headers.get("Job-Target")
    if text is None:
        return None
    if _DATE.match(text):
        return _moment("Job-Target", text)
    return time.time() + _duration("Job-Target", text)


def deadline() -> float | None:
    """Unix seconds after which the job is not worth running, from `Job-TTL` or `Job-Deadline`; None without them."""
    ttl, until = request.headers.get("Job-TTL"), request.headers.get("Job-Deadline")
    if ttl is not None and until is not None:
        raise _wrong("Job-TTL", "cannot be given together with Job-Deadline")
    if ttl is not None:
        return time.time() + _duration("Job-TTL", ttl)
    return None if until is None else _moment("Job-Deadline", until)


def metadata() -> dict[str, Any] | None:
    """`Job-Metadata`: a small JSON object; None without it. What is not ASCII may be escaped, or be UTF-8."""
    text = request.headers.get("Job-Metadata")
    if text is None:
        return None
    if len(text) > _MOST_METADATA:
        raise _wrong("Job-Metadata", f"may have {_MOST_METADATA} bytes at most")
    try:
        found = json.loads(
            text.encode("latin-1").decode(), parse_constant=_refuse, parse_float=_finite, parse_int=_short
        )
        json.dumps(found, ensure_ascii=False).encode()  # a lone surrogate is no text
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _wrong("Job-Metadata", 'must be a JSON object, such as {"album": "spring"}')
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _short(number: str) -> int:
    return int(number) if len(number) <= _MOST_DIGITS else _refuse(number)


def _finite(number: str) -> float:
    found = float(number)
    return found if math.isfinite(found) else _refuse(number)


def _duration(header: str, text: str) -> float:
    try:
        seconds = float(parse_duration(text))
    except ValueError as error:
        raise _wrong(header, str(error)) from None
    if not 0 < seconds <= _LONGEST:
        raise _wrong(header, "must be longer than 0 and at most 36500d")
    return seconds


def past_or_future(parameter: str, text: str) -> float:
    """Unix seconds of a moment in RFC 3339, or themselves; raises InvalidInput."""
    if _SECONDS.fullmatch(text):
        return float(text)
    moment = _parsed(text)
    if moment is None:
        raise _wrong(parameter, "must be Unix seconds, or a time with its zone such as 2030-01-31T12:00:00Z")
    return moment


def _parsed(text: str) -> float | None:
    """Unix seconds of a moment in RFC 3339."""
    leap = _LEAP_SECOND.fullmatch(text)  # has no place in datetime: it is the one after the 59th
    if not _MOMENT.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat((f"{leap[1]}59{leap[2]}" if leap else text).upper())
    except ValueError:
        return None
    return moment.timestamp() + (leap is not None)


def _moment(header: str, text: str) -> float:
    seconds = _parsed(text)
    if seconds is None:
        raise _wrong(header, "must be a time with its zone as in RFC 3339, such as 2030-01-31T12:00:00Z")
    if seconds <= time.time():
        raise _wrong(header, "must lie in the future")
    return seconds


def _wrong(header: str, detail: str) -> InvalidInput:
    return InvalidInput([FieldError(header, detail)])
