"""The native dialect: the routes of the server's own API. Shapes are in `views.py`, errors in `problem_json.py`."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import Any

from flask import Response, request
from flask.typing import ResponseReturnValue

from para_attn_server.core.errors import JobNotFound
from para_attn_server.core.job import JobStatus
from para_attn_server.http.kit import problems
from para_attn_server.http.kit.bodies import json_object
from para_attn_server.http.kit.callers import caller
from para_attn_server.http.kit.files import output_file
from para_attn_server.http.kit.problems import http_problem
from para_attn_server.http.kit.request_log import request_id
from para_attn_server.http.kit.routes import REQUEST, RETRY_AFTER, ResponseSpec, Route, endpoints
from para_attn_server.http.kit.waiting import WAIT_PARAMETER, wait_seconds
from para_attn_server.http.native import views
from para_attn_server.http.native.cursors import AFTER_PARAMETER, JOB_STATUS, LOG_NEXT, after
from para_attn_server.http.native.headers import PARAMETERS, deadline, idempotency_key, priority, target
from para_attn_server.http.native.outputs import output_in_json
from para_attn_server.http.native.problem_json import problem
from para_attn_server.service.job_request import JobRequest, Wishes
from para_attn_server.service.job_view import JobView
from para_attn_server.service.service import JobService

_PACKAGE = "para-attn-server"
JOB_ID = re.compile(r"[0-9a-f]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,4}")
POLL_AGAIN = {"Retry-After": "1"}

_ID: dict[str, Any] = {
    "name": "job_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": f"^{JOB_ID.pattern}$"},
}
_INDEX: dict[str, Any] = {
    "name": "index",
    "in": "path",
    "required": True,
    "description": "Which of the job's outputs, from 0.",
    "schema": {"type": "string", "pattern": f"^{_NUMBER.pattern}$"},
}
_ID_AND_WAIT = (_ID, WAIT_PARAMETER)

_LOCATION = ("Location", "Where the output will be.")
_UNDER_WAY = ResponseSpec(202, "The job is queued or running.", views.StatusBody, (RETRY_AFTER,))
_NO_OUTPUT = (
    problems.INVALID_INPUT,
    problems.JOB_NOT_FOUND,
    problems.JOB_CANCELED,
    problems.JOB_FAILED,
    problems.STORE_UNUSABLE,
)
_NO_FILE = (*_NO_OUTPUT, problems.OUTPUT_GONE, problems.OUTPUT_EXPIRED, problems.OUTPUT_EVICTED)
_NO_CANCEL = (
    problems.JOB_NOT_FOUND,
    problems.NOTHING_TO_CANCEL,
    problems.CONTROLLER_UNREACHABLE,
    problems.STORE_UNUSABLE,
)
_NO_JOB = (
    problems.INVALID_INPUT,
    http_problem(413),
    http_problem(415),
    problems.IDEMPOTENCY_CONFLICT,
    problems.QUEUE_FULL,
    problems.NOT_ACCEPTING,
    problems.INSUFFICIENT_STORAGE,
    problems.STORE_UNUSABLE,
)
_FILE = (
    ResponseSpec(200, "The output file, in its own media type.", bytes, (("ETag", "The file's SHA-256."),)),
    ResponseSpec(206, "The requested range.", bytes),
    ResponseSpec(304, "The client's copy is current (If-None-Match)."),
    _UNDER_WAY,
)
_LOG = ResponseSpec(
    200,
    "The log in UTF-8, or its lines after the cursor.",
    bytes,
    (
        (LOG_NEXT, "The cursor for the next request."),
        (JOB_STATUS, "The job's status; once it has ended the log is complete."),
    ),
)
_NO_LOG = (problems.INVALID_INPUT, problems.JOB_NOT_FOUND, problems.STORE_UNUSABLE)
_CANCELED = (
    ResponseSpec(200, "The job has ended.", views.StatusBody),
    ResponseSpec(202, "It has not ended yet.", views.StatusBody),
)


def native_routes(service: JobService) -> list[Route]:
    """The routes of the native dialect over a service."""
    native = _Native(service)
    result = ResponseSpec(200, "The job has succeeded.", views.ResultBody)
    output = ResponseSpec(200, "The job has succeeded.", views.OutputBody)
    server = ResponseSpec(200, "The server works.", views.ServerBody)
    accepted = ResponseSpec(202, "The job is on disk and will be run.", views.AcceptedBody, (_LOCATION, RETRY_AFTER))
    known = (problems.NOT_ACCEPTING, problems.STORE_UNUSABLE)
    both = ("GET", "POST")
    native.routes = [
        Route("/", ("GET",), native.index, (ResponseSpec(200, "This server.", views.IndexBody),)),
        Route("/generate", ("POST",), native.generate, (accepted,), _NO_JOB, PARAMETERS, REQUEST),
        Route("/get_output/<job_id>", both, native.get_output, (output, _UNDER_WAY), _NO_FILE, _ID_AND_WAIT),
        Route("/request_status/<job_id>", both, native.request_status, (result, _UNDER_WAY), _NO_OUTPUT, _ID_AND_WAIT),
        *_output_routes(native),
        Route("/jobs/<job_id>/log", ("GET",), native.log, (_LOG,), _NO_LOG, (_ID, AFTER_PARAMETER)),
        Route("/cancel", ("POST",), native.cancel, _CANCELED, _NO_CANCEL),
        Route("/cancel/<job_id>", ("POST",), native.cancel, _CANCELED, _NO_CANCEL, (_ID,)),
        Route("/server_status", both, native.server_status, (server,), (problems.POOL_DOWN, problems.STORE_UNUSABLE)),
        Route("/schema", ("GET",), native.schema, (ResponseSpec(200, "A JSON Schema (2020-12).", dict),), known),
        Route("/healthz", ("GET",), native.healthz, (ResponseSpec(200, "Alive.", views.AliveBody),)),
        Route("/readyz", ("GET",), native.readyz, (ResponseSpec(200, "Ready.", views.ReadyBody),), known),
    ]
    return native.routes


def _output_routes(native: _Native) -> Iterator[Route]:
    refused = (*_NO_FILE, http_problem(412), http_problem(416))
    yield Route("/outputs/<job_id>", ("GET",), native.outputs, _FILE, refused, _ID_AND_WAIT)
    no_such, parameters = (*refused, http_problem(404)), (*_ID_AND_WAIT, _INDEX)
    yield Route("/outputs/<job_id>/<index>", ("GET",), native.outputs, _FILE, no_such, parameters)


class _Native:
    """One method per route."""

    def __init__(self, service: JobService) -> None:
        self._service = service
        self._versions = {_PACKAGE: version(_PACKAGE), "python": platform.python_version()}
        self.routes: Iterable[Route] = ()

    def index(self) -> ResponseReturnValue:
        """Name, version and endpoints of this server."""
        return {"name": _PACKAGE, "version": self._versions[_PACKAGE], "endpoints": endpoints(self.routes)}

    def generate(self) -> ResponseReturnValue:
        """Queue a job."""
        body, key, wishes = json_object(), idempotency_key(), Wishes(deadline(), target(), priority())
        job = self._service.submit(caller(), JobRequest(body, key, wishes, request_id=request_id()))
        return {"request_id": job.id}, 202, {"Location": f"{request.script_root}/get_output/{job.id}", **POLL_AGAIN}

    def get_output(self, job_id: str) -> ResponseReturnValue:
        """A job's output in base64, or the job's status."""
        view = self._looked_up(job_id)
        output = view.job.output
        return (
            _unfinished(view)
            if output is None
            else output_in_json(output, self._service.open(view.job, output), views.result_body(view, output))
        )

    def request_status(self, job_id: str) -> ResponseReturnValue:
        """The status of a job."""
        view = self._looked_up(job_id)
        output = view.job.output
        return _unfinished(view) if output is None else views.result_body(view, output)

    def outputs(self, job_id: str, index: str = "0") -> ResponseReturnValue:
        """An output file itself, or the job's status."""
        view = self._looked_up(job_id)
        outputs = view.job.outputs
        if not outputs:
            return _unfinished(view)
        if not _NUMBER.fullmatch(index) or int(index) >= len(outputs):
            return problem(http_problem(404), f"The job has {len(outputs)} output(s), the first of which is 0.")
        output = outputs[int(index)]
        return output_file(output, self._service.open(view.job, output))

    def log(self, job_id: str) -> ResponseReturnValue:
        """The log of a job as text, with the traceback of a failure."""
        log = self._service.log(caller(), _checked(job_id), after())
        return Response(
            log.text, mimetype="text/plain", headers={LOG_NEXT: str(log.next), JOB_STATUS: log.status.value}
        )

    def cancel(self, job_id: str | None = None) -> ResponseReturnValue:
        """Cancel a job; returns when it has ended."""
        view = self._service.cancel(caller(), None if job_id is None else _checked(job_id))
        return views.status_body(view), 200 if view.job.status.terminal else 202

    def server_status(self) -> ResponseReturnValue:
        """The worker groups, the queue, uptime and versions."""
        server = self._service.server(caller())
        if server is None:
            return problem(problems.POOL_DOWN, "The controller does not respond.")
        body = views.server_body(server, self._versions)
        if (broken := server.pool.broken) is not None:
            return problem(problems.POOL_DOWN, broken, server=body)
        return body

    def schema(self) -> ResponseReturnValue:
        """JSON Schema of the arguments of POST /generate."""
        return self._service.model_info(caller()).schema

    def healthz(self) -> ResponseReturnValue:
        """Alive."""
        return {"status": "alive"}

    def readyz(self) -> ResponseReturnValue:
        """Ready for new jobs, or 503 with the reason."""
        self._service.readiness()
        return {"status": "ready"}

    def _looked_up(self, job_id: str) -> JobView:
        seconds = wait_seconds()
        _checked(job_id)
        return self._service.wait(caller(), job_id, seconds) if seconds else self._service.view(caller(), job_id)


def _checked(job_id: str) -> str:
    if not JOB_ID.fullmatch(job_id):
        raise JobNotFound("no such job: an id has up to 64 hexadecimal digits")
    return job_id


def _unfinished(view: JobView) -> ResponseReturnValue:
    """The answer for a job without an output: 202 on its way, 410 canceled, 500 failed."""
    job = view.job
    if job.status not in (JobStatus.CANCELED, JobStatus.FAILED):
        return views.status_body(view), 202, POLL_AGAIN
    known = {"request_id": job.id, "attempts": job.attempts, "seed": job.seed}
    if job.status is JobStatus.CANCELED:
        return problem(problems.JOB_CANCELED, "It has no output.", **known, step=job.step)
    error = job.error.as_dict() if job.error is not None else {"type": "exception", "message": "unknown"}
    return problem(problems.JOB_FAILED, error["message"], **known, error=error, timings=views.timings(job))
