"""Polls of a job's status, responded to below Flask: the request that clients send most often.

Only what is the same as in `routes.py`: one id without a query, and a job that is under way or has succeeded.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from para_attn_server.core.job import JobStatus
from para_attn_server.http.kit.callers import caller_of
from para_attn_server.http.kit.dialect import Short, Shortcut
from para_attn_server.http.kit.jsons import dumps
from para_attn_server.http.native import views
from para_attn_server.http.native.handlers import JOB_ID, POLL_AGAIN
from para_attn_server.service.job_view import JobView
from para_attn_server.service.service import JobService

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_STATUS, _OUTPUT = "/request_status/", "/get_output/"
_JSON = ("Content-Type", "application/json")
_UNDER_WAY = [_JSON, *POLL_AGAIN.items()]


def status_shortcut(service: JobService) -> Shortcut:
    """For `GET /request_status/<id>`, and for `GET /get_output/<id>` of a job that is under way."""

    def respond(environ: WSGIEnvironment) -> Short | None:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] != "GET" or environ.get("QUERY_STRING") or not path.startswith((_STATUS, _OUTPUT)):
            return None
        _, start, job_id = path.split("/", 2)
        if not JOB_ID.fullmatch(job_id):
            return None
        with suppress(Exception):  # the route will meet the same one, and says and logs what is wrong
            view = service.view(caller_of(environ), job_id)
            return _short(view, environ.get("SCRIPT_NAME", "").rstrip("/") if start == "request_status" else None)
        return None

    return respond


def _short(view: JobView, root: str | None) -> Short | None:
    """root: what the paths in a result begin with; None where the result is Flask's."""
    if view.job.status in (JobStatus.QUEUED, JobStatus.RUNNING):
        return Short(202, _UNDER_WAY, _text(views.status_body(view)))
    output = view.job.output
    return None if output is None or root is None else Short(200, [_JSON], _text(views.result_body(view, output, root)))


def _text(body: views.StatusBody) -> bytes:
    return f"{dumps(body)}\n".encode()
