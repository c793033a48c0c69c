"""The native dialect: the routes of the server's own API. Shapes are in `views.py`, errors in `errors.py`."""

from __future__ import annotations

import platform
import re
import time
from importlib.metadata import version
from typing import Any

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue

from para_attn_server.core.errors import JobNotFound
from para_attn_server.core.job import Job, JobStatus
from para_attn_server.http import views
from para_attn_server.http.bodies import json_object, output_file, output_in_json, wait_seconds
from para_attn_server.http.errors import problem
from para_attn_server.http.headers import deadline, idempotency_key
from para_attn_server.service.service import JobService, JobView

_PACKAGE = "para-attn-server"
_JOB_ID = re.compile(r"[0-9a-f]{1,64}")
_POLL_AGAIN = {"Retry-After": "1"}


def native_dialect(service: JobService) -> Blueprint:
    """The blueprint of the native dialect over a service."""
    routes = _Native(service)
    blueprint = Blueprint("native", __name__)
    rules: list[tuple[str, tuple[str, ...], Any]] = [
        ("/", ("GET",), routes.index),
        ("/generate", ("POST",), routes.generate),
        ("/get_output/<job_id>", ("GET", "POST"), routes.get_output),
        ("/request_status/<job_id>", ("GET", "POST"), routes.request_status),
        ("/outputs/<job_id>", ("GET",), routes.outputs),
        ("/cancel", ("POST",), routes.cancel),
        ("/cancel/<job_id>", ("POST",), routes.cancel),
        ("/server_status", ("GET", "POST"), routes.server_status),
        ("/schema", ("GET",), routes.schema),
        ("/healthz", ("GET",), routes.healthz),
        ("/readyz", ("GET",), routes.readyz),
    ]
    for rule, methods, function in rules:
        blueprint.add_url_rule(rule, view_func=function, methods=methods)
    return blueprint


class _Native:
    """One method per route."""

    def __init__(self, service: JobService) -> None:
        self._service = service
        self._versions = {_PACKAGE: version(_PACKAGE), "python": platform.python_version()}

    def index(self) -> ResponseReturnValue:
        """What this server is and where to go from here."""
        return {
            "name": _PACKAGE,
            "version": self._versions[_PACKAGE],
            "endpoints": {
                "POST /generate": "queue a job; the arguments are those of GET /schema",
                "GET /get_output/{id}?wait=SECONDS": "the output as base64, once the job has ended",
                "GET /request_status/{id}?wait=SECONDS": "the same without the bytes",
                "GET /outputs/{id}": "the output file itself",
                "POST /cancel/{id}": "cancel a job; without an id the oldest running one",
                "GET /server_status": "worker groups, queue, uptime, versions",
                "GET /schema": "JSON Schema of the arguments",
                "GET /healthz": "whether the web server is alive",
                "GET /readyz": "whether new work is taken",
            },
        }

    def generate(self) -> ResponseReturnValue:
        """Queue a job."""
        job = self._service.submit(json_object(), idempotency_key(), deadline())
        return {"request_id": job.id}, 202, {"Location": f"/get_output/{job.id}", **_POLL_AGAIN}

    def get_output(self, job_id: str) -> ResponseReturnValue:
        """A job's output in base64, or how the job stands."""
        view = self._looked_up(job_id)
        if view.job.output is None:
            return _unfinished(view)
        return output_in_json(view.job.output, views.result_body(view))

    def request_status(self, job_id: str) -> ResponseReturnValue:
        """How a job stands."""
        view = self._looked_up(job_id)
        return _unfinished(view) if view.job.output is None else views.result_body(view)

    def outputs(self, job_id: str) -> ResponseReturnValue:
        """The output file itself, or how the job stands."""
        view = self._looked_up(job_id)
        return _unfinished(view) if view.job.output is None else output_file(view.job.output)

    def cancel(self, job_id: str | None = None) -> ResponseReturnValue:
        """Cancel a job; answers when it has ended."""
        view = self._service.cancel(None if job_id is None else _checked(job_id))
        return views.status_body(view), 200 if view.job.status.terminal else 202

    def server_status(self) -> ResponseReturnValue:
        """The worker groups, the queue, uptime and versions."""
        pool = self._service.pool()
        if pool is None:
            return problem(500, "The pool cannot work", "The control process does not answer.", "pool-down")
        body = views.server_body(pool, self._service.counts(), self._versions, time.time())
        if pool.groups and all(group.state == "broken" for group in pool.groups):
            reason = pool.groups[0].cause or "all worker groups are broken"
            return problem(500, "The pool cannot work", reason, "pool-down", server=body)
        return body

    def schema(self) -> ResponseReturnValue:
        """JSON Schema of the arguments of POST /generate."""
        return self._service.contract().schema

    def healthz(self) -> ResponseReturnValue:
        """Alive."""
        return {"status": "alive"}

    def readyz(self) -> ResponseReturnValue:
        """Ready for new work, or 503 with the reason."""
        self._service.readiness()
        return {"status": "ready"}

    def _looked_up(self, job_id: str) -> JobView:
        seconds = wait_seconds()
        _checked(job_id)
        return self._service.wait(job_id, seconds) if seconds else self._service.view(job_id)


def _checked(job_id: str) -> str:
    if not _JOB_ID.fullmatch(job_id):
        raise JobNotFound("there is no such job: an id is up to 64 hexadecimal digits")
    return job_id


def _unfinished(view: JobView) -> ResponseReturnValue:
    """The answer for a job without an output: 202 on its way, 410 canceled, 500 failed."""
    job = view.job
    if job.status is JobStatus.CANCELED:
        known = {"request_id": job.id, "step": job.step, "attempts": job.attempts}
        return problem(410, "The job was canceled", "It has no output.", "job-canceled", **known)
    if job.status is JobStatus.FAILED:
        return _failed(job)
    return views.status_body(view), 202, _POLL_AGAIN


def _failed(job: Job) -> Response:
    error = job.error.as_dict() if job.error is not None else {"type": "exception", "message": "unknown"}
    return problem(
        500,
        "The job failed",
        error["message"],
        "job-failed",
        request_id=job.id,
        error=error,
        attempts=job.attempts,
        timings=views.timings(job),
    )
