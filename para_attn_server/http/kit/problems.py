"""Which errors there are, whatever the dialect: from one table over the project's error tree.

How an error looks is its dialect's (`ErrorShape`). None carries a traceback or a path of this machine: what is not
meant for clients is logged instead.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from flask import request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from para_attn_server.core.errors import (
    ControllerUnreachable,
    IdempotencyConflict,
    InsufficientStorage,
    InvalidInput,
    JobActive,
    JobNotFound,
    ModelNotFound,
    NotAccepting,
    NothingToCancel,
    OutputEvicted,
    OutputExpired,
    OutputGone,
    QueueFull,
    ServerError,
    StoreUnavailable,
    UploadNotFound,
    UploadTooLarge,
)

_log = logging.getLogger(__name__)
_QUIET = 60.0


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of problem: its status, its name (None: it says nothing beyond its status), its title, and after how
    many seconds to try again.

    detail: said instead of an error's own message, where that is not meant for clients.
    """

    status: int
    slug: str | None
    title: str
    retry_after: int | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """An error that has no shape yet. retry_after: seconds, if not those of its kind.

    further: what else is known of it, by name, ready for JSON. `errors` among it: what is wrong with the request, each
    with `detail`, and `pointer` (into the body) or `parameter`.
    """

    kind: ProblemType
    detail: str
    further: Mapping[str, Any] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()
    retry_after: int | None = None

    def all_headers(self) -> Iterator[tuple[str, str]]:
        """Its headers, `Retry-After` among them."""
        yield from self.headers
        seconds = self.kind.retry_after if self.retry_after is None else self.retry_after
        if seconds is not None:
            yield "Retry-After", str(seconds)


INVALID_INPUT = ProblemType(400, "invalid-input", "Invalid arguments")
JOB_ACTIVE = ProblemType(409, "job-active", "The job has not ended")
UPLOAD_NOT_FOUND = ProblemType(404, "upload-not-found", "No such upload")
UPLOAD_TOO_LARGE = ProblemType(413, "upload-too-large", "The file is too large")
JOB_NOT_FOUND = ProblemType(404, "job-not-found", "No such job")
MODEL_NOT_FOUND = ProblemType(404, "model-not-found", "No such model")
NOTHING_TO_CANCEL = ProblemType(404, "nothing-to-cancel", "Nothing to cancel")
OUTPUT_GONE = ProblemType(410, "output-gone", "The output's file is gone")
OUTPUT_EXPIRED = ProblemType(410, "output-expired", "The output has expired")
OUTPUT_EVICTED = ProblemType(410, "output-evicted", "The output was removed to make room")
JOB_CANCELED = ProblemType(410, "job-canceled", "The job was canceled")
IDEMPOTENCY_CONFLICT = ProblemType(422, "idempotency-conflict", "The key was used for another request")
QUEUE_FULL = ProblemType(429, "queue-full", "The queue is full", retry_after=5)
JOB_FAILED = ProblemType(500, "job-failed", "The job failed")
POOL_DOWN = ProblemType(500, "pool-down", "No worker group available")
INTERNAL = ProblemType(500, "internal", "Internal server error", detail="See the server log.")
NOT_ACCEPTING = ProblemType(503, "not-accepting", "Not accepting jobs", retry_after=5)
INSUFFICIENT_STORAGE = ProblemType(507, "insufficient-storage", "Too little free space for outputs", retry_after=30)
CONTROLLER_UNREACHABLE = ProblemType(503, "controller-unreachable", "The controller does not respond", retry_after=2)
STORE_UNUSABLE = ProblemType(503, "store-unusable", "Job store unavailable", 5, "See the server log.")

_KINDS: dict[type[ServerError], ProblemType] = {
    InvalidInput: INVALID_INPUT,
    JobActive: JOB_ACTIVE,
    JobNotFound: JOB_NOT_FOUND,
    ModelNotFound: MODEL_NOT_FOUND,
    UploadNotFound: UPLOAD_NOT_FOUND,
    UploadTooLarge: UPLOAD_TOO_LARGE,
    NothingToCancel: NOTHING_TO_CANCEL,
    IdempotencyConflict: IDEMPOTENCY_CONFLICT,
    QueueFull: QUEUE_FULL,
    NotAccepting: NOT_ACCEPTING,
    InsufficientStorage: INSUFFICIENT_STORAGE,
    OutputGone: OUTPUT_GONE,
    OutputExpired: OUTPUT_EXPIRED,
    OutputEvicted: OUTPUT_EVICTED,
    ControllerUnreachable: CONTROLLER_UNREACHABLE,
    StoreUnavailable: STORE_UNUSABLE,
    ServerError: INTERNAL,
}


def http_problem(status: int) -> ProblemType:
    """A problem that says nothing beyond its HTTP status."""
    return ProblemType(status, None, HTTPStatus(status).phrase)


def problem_of(error: Exception) -> Problem:
    """What a client may know of an error; the rest is logged."""
    if isinstance(error, ServerError):
        return _of_server_error(error)
    if isinstance(error, HTTPException):
        return _of_http_error(error)
    _log.error("%s %s failed", request.method, request.path, exc_info=error)
    return Problem(INTERNAL, str(INTERNAL.detail))


def _of_server_error(error: ServerError) -> Problem:
    kind = next(_KINDS[cls] for cls in type(error).__mro__ if cls in _KINDS)
    if isinstance(error, StoreUnavailable):
        if _store_refusals.is_new(str(error)):
            traceback = None if error.public else error  # what was foreseen needs none
            _log.error("the queue's database cannot be used: %s", error, exc_info=traceback)
        return Problem(kind, error.public or str(kind.detail))
    if kind.detail is not None:
        _log.error("%s %s: %s", request.method, request.path, error, exc_info=error)
    retry_after = error.retry_after if isinstance(error, QueueFull) else None
    return Problem(kind, kind.detail or str(error), _further(error), retry_after=retry_after)


def _further(error: ServerError) -> dict[str, Any]:
    """The members that say more of an error."""
    if isinstance(error, InvalidInput):
        return {"errors": _fields(error)}
    if isinstance(error, ModelNotFound):
        return {"models": error.models}
    if isinstance(error, InsufficientStorage):
        return {"free_bytes": error.free, "wanted_bytes": error.wanted}
    if isinstance(error, OutputExpired | OutputEvicted):
        return {"removed_at": error.removed_at}
    return {}


class _Repeated:
    """Which messages are new: those that have not come for a minute. A poll brings the same one again and again."""

    def __init__(self) -> None:
        self._came: dict[str, float] = {}

    def is_new(self, message: str) -> bool:
        now = time.monotonic()
        self._came = {known: at for known, at in self._came.items() if now - at <= _QUIET}
        new = message not in self._came
        self._came[message] = now
        return new


_store_refusals = _Repeated()


def _fields(error: InvalidInput) -> list[dict[str, str]]:
    """The wrong fields; one that is not in the body (no pointer into it) is a parameter of the query."""
    return [
        {"detail": f.detail, "pointer" if f.pointer.startswith("#") else "parameter": f.pointer} for f in error.fields
    ]


def _of_http_error(error: HTTPException) -> Problem:
    detail = error.description or error.name
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        detail = f"{request.method} is not allowed here; allowed: {', '.join(sorted(error.valid_methods))}."
    headers = tuple(
        (name, value)
        for name, value in error.get_headers(request.environ)
        if name not in ("Content-Type", "Content-Length")
    )
    return Problem(http_problem(error.code or 500), detail, headers=headers)
