"""The name of each request, which is in its response and in every log line about it, and the access log."""

from __future__ import annotations

import re
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import structlog
from flask import Flask, Response, request
from structlog.contextvars import bind_contextvars, clear_contextvars
from werkzeug.wsgi import get_path_info

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

log = structlog.get_logger()
REQUEST_ID = "X-Request-Id"
_NAME = "para_attn_server.request_id"
_BEGAN = "para_attn_server.began"
_ID = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")


def begin(environ: WSGIEnvironment) -> str:
    """Name a request, before anything else: as the client has, where that is fit to be logged, else anew."""
    theirs = environ.get("HTTP_X_REQUEST_ID", "")
    name = theirs if _ID.fullmatch(theirs) else new_request_id()
    environ[_NAME], environ[_BEGAN] = name, time.perf_counter()
    clear_contextvars()  # of the request before on this connection
    bind_contextvars(request_id=name)
    return name


def register(app: Flask) -> None:
    """Log each request that the app responds to, once its response is closed."""
    app.after_request(_responded)


def request_id() -> str:
    """The name of the present request."""
    name: str = request.environ[_NAME]
    return name


def new_request_id() -> str:
    """A name that no other request has."""
    return uuid.uuid4().hex


def log_request(environ: WSGIEnvironment, status: int) -> None:
    """A line of the access log."""
    log.info(
        "request",
        method=environ["REQUEST_METHOD"],
        path=quote(get_path_info(environ)),
        status=status,
        duration_s=round(time.perf_counter() - environ[_BEGAN], 4),
        request_id=environ[_NAME],
    )


def _responded(response: Response) -> Response:
    response.call_on_close(partial(log_request, request.environ, response.status_code))
    return response
