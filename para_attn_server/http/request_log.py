"""The name of each request, which is in its answer and in every log line about it, and the access log."""

from __future__ import annotations

import re
import time
import uuid
from functools import partial
from urllib.parse import quote

import structlog
from flask import Flask, Response, g, request
from structlog.contextvars import bind_contextvars, clear_contextvars

log = structlog.get_logger()
REQUEST_ID = "X-Request-Id"
_ID = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")


def register(app: Flask, access_log: bool) -> None:
    """Runs before everything else that handles requests. access_log: one line per request."""
    app.before_request(_begin)
    app.after_request(partial(_answered, access_log))


def request_id() -> str:
    """The name of the present request: the client's, where it has sent one that is fit to be logged, else a new one."""
    if "request_id" not in g:
        theirs = request.headers.get(REQUEST_ID, "")
        g.request_id = theirs if _ID.fullmatch(theirs) else new_request_id()
    name: str = g.request_id
    return name


def new_request_id() -> str:
    """A name that no other request has."""
    return uuid.uuid4().hex


def _begin() -> None:
    g.began = time.perf_counter()
    clear_contextvars()  # of the request before on this connection
    bind_contextvars(request_id=request_id())


def _answered(access_log: bool, response: Response) -> Response:
    response.headers[REQUEST_ID] = request_id()
    if access_log:
        response.call_on_close(
            partial(_log, request.method, quote(request.path), response, g.get("began"), request_id())
        )
    return response


def _log(method: str, path: str, response: Response, began: float | None, name: str) -> None:
    seconds = None if began is None else round(time.perf_counter() - began, 4)
    keys = {"method": method, "path": path, "status": response.status_code, "duration_s": seconds, "request_id": name}
    log.info("request", **keys)
