"""Every error answer: RFC 9457 problem+json, from one table over the project's error tree.

No answer carries a traceback or a path of this machine: what is not meant for clients is logged instead.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.wsgi import get_path_info

from para_attn_server.core.errors import (
    ControllerUnreachable,
    IdempotencyConflict,
    InsufficientStorage,
    InvalidInput,
    JobNotFound,
    NotAccepting,
    NothingToCancel,
    OutputEvicted,
    OutputExpired,
    OutputGone,
    QueueFull,
    ServerError,
    StoreUnavailable,
)
from para_attn_server.http.jsons import dumps

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_log = logging.getLogger(__name__)
PROBLEM_JSON = "application/problem+json"
_QUIET = 60.0
_TYPE_PREFIX = "urn:para-attn-server:problem:"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of problem: its status, the last part of its type (None: about:blank), its title, and after how many
    seconds to try again.

    detail: said instead of an error's own message, where that is not meant for clients.
    """

    status: int
    slug: str | None
    title: str
    retry_after: int | None = None
    detail: str | None = None

    @property
    def type(self) -> str:
        """The problem's type, a URI."""
        return _TYPE_PREFIX + self.slug if self.slug else "about:blank"


INVALID_INPUT = ProblemType(400, "invalid-input", "Invalid arguments")
JOB_NOT_FOUND = ProblemType(404, "job-not-found", "No such job")
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
    JobNotFound: JOB_NOT_FOUND,
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


def problem(kind: ProblemType, detail: str, environ: WSGIEnvironment | None = None, **further: Any) -> Response:
    """A problem+json response. environ: of the request, where Flask does not know it. further: more members."""
    environ = request.environ if environ is None else environ
    body = {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": environ.get("SCRIPT_NAME", "").rstrip("/") + get_path_info(environ),
        **further,
    }
    response = Response(dumps(body) + "\n", kind.status, mimetype=PROBLEM_JSON)
    if kind.retry_after is not None:
        response.headers["Retry-After"] = str(kind.retry_after)
    return response


def register(app: Flask, endpoints: Callable[[], dict[str, str]]) -> None:
    """Have every error of the app answered from here. endpoints: what a 404 lists."""

    def not_found(_error: NotFound) -> Response:
        known = endpoints()
        detail = f"{request.path} does not exist. The endpoints are: {', '.join(known)}."
        return problem(http_problem(404), detail, endpoints=known)

    app.register_error_handler(ServerError, _server_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(NotFound, not_found)
    app.register_error_handler(Exception, _unforeseen)


def _server_error(error: ServerError) -> Response:
    kind = next(_KINDS[cls] for cls in type(error).__mro__ if cls in _KINDS)
    if isinstance(error, StoreUnavailable):
        if _store_refusals.is_new(str(error)):
            traceback = None if error.public else error  # what was foreseen needs none
            _log.error("the queue's database cannot be used: %s", error, exc_info=traceback)
        return problem(kind, error.public or str(kind.detail))
    if kind.detail is not None:
        _log.error("%s %s: %s", request.method, request.path, error, exc_info=error)
    return problem(kind, kind.detail or str(error), **_further(error))


def _further(error: ServerError) -> dict[str, Any]:
    """The members that say more of an error."""
    if isinstance(error, InvalidInput):
        return {"errors": _fields(error)}
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


def _http_error(error: HTTPException) -> HTTPException | Response:
    if error.code is None or error.code < 400:
        return error  # a redirect
    detail = error.description or error.name
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        detail = f"{request.method} is not allowed here; allowed: {', '.join(sorted(error.valid_methods))}."
    response = problem(http_problem(error.code), detail)
    for name, value in error.get_headers(request.environ):
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    return response


def _unforeseen(error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.path, exc_info=error)
    return problem(INTERNAL, str(INTERNAL.detail))
