"""What the native dialect does for each of its routes. Their table is in `routes.py`, shapes are in `views.py`."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version

from flask import Response, request
from flask.typing import ResponseReturnValue

from para_attn_server.core.errors import JobNotFound, StoreUnavailable, UploadNotFound
from para_attn_server.core.job import Job, JobStatus, Output
from para_attn_server.core.uploads import DIGEST
from para_attn_server.http.kit import problems
from para_attn_server.http.kit.bodies import json_object
from para_attn_server.http.kit.callers import caller
from para_attn_server.http.kit.files import output_file
from para_attn_server.http.kit.problems import http_problem
from para_attn_server.http.kit.request_log import request_id
from para_attn_server.http.kit.routes import Route, endpoints
from para_attn_server.http.kit.sse import last_event_id, no_content
from para_attn_server.http.kit.uploads import form_arguments, is_form, upload
from para_attn_server.http.kit.waiting import wait_or_preference, wait_seconds
from para_attn_server.http.native import listing, server_views, views
from para_attn_server.http.native.cursors import JOB_STATUS, LOG_NEXT, after
from para_attn_server.http.native.events import events_response
from para_attn_server.http.native.headers import (
    deadline,
    idempotency_key,
    metadata,
    model,
    model_meant,
    priority,
    target,
)
from para_attn_server.http.native.outputs import file_wanted, output_in_json
from para_attn_server.http.native.problem_json import problem
from para_attn_server.service.job_request import JobRequest, Wishes
from para_attn_server.service.job_view import JobView
from para_attn_server.service.service import JobService

_PACKAGE = "para-attn-server"
JOB_ID = re.compile(r"[0-9a-f]{1,64}")
OUTPUT_INDEX = re.compile(r"[0-9]{1,4}")
POLL_AGAIN = {"Retry-After": "1"}


class Native:
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
        seconds, key = wait_or_preference(), idempotency_key()
        body = form_arguments(self._service, model()) if is_form() else json_object()
        wishes = Wishes(deadline(), target(), priority())
        asked = JobRequest(body, key, wishes, metadata(), request_id(), model=model())
        job = self._service.submit(caller(), asked)
        location = {"Location": f"{request.script_root}/get_output/{job.id}"}
        with suppress(StoreUnavailable):  # the job is accepted, whatever can be read of it now
            view = self._service.wait(caller(), job.id, seconds) if seconds else None
            if view is not None and view.job.status.terminal:
                response = self._result(view)
                response.headers.update(location)
                return response
        return {"request_id": job.id}, 202, {**location, **POLL_AGAIN}

    def upload(self) -> ResponseReturnValue:
        """Keep a picture, video or sound for jobs to take: the body itself, or the file of a form."""
        kept = upload(self._service)
        location = f"{request.script_root}/uploads/{kept.digest}"
        return views.upload_body(kept), 201, {"Location": location}

    def uploaded(self, upload_id: str) -> ResponseReturnValue:
        """What is known of an upload. Its bytes are not given out."""
        if not DIGEST.fullmatch(upload_id):
            raise UploadNotFound(upload_id)
        return views.upload_body(self._service.uploaded(caller(), upload_id))

    def get_output(self, job_id: str) -> ResponseReturnValue:
        """A job's output in base64, or the job's status."""
        view = self._looked_up(job_id)
        return _unfinished(view) if view.job.output is None else self._in_json(view, view.job.output)

    def request_status(self, job_id: str) -> ResponseReturnValue:
        """The status of a job."""
        view = self._looked_up(job_id)
        output = view.job.output
        return _unfinished(view) if output is None else views.result_body(view, output, request.script_root)

    def outputs(self, job_id: str, index: str = "0") -> ResponseReturnValue:
        """An output file itself, or the job's status."""
        view = self._looked_up(job_id)
        outputs = view.job.outputs
        if not outputs:
            return _unfinished(view)
        if not OUTPUT_INDEX.fullmatch(index) or int(index) >= len(outputs):
            return problem(http_problem(404), f"The job has {len(outputs)} output(s), the first of which is 0.")
        output = outputs[int(index)]
        return output_file(output, self._service.open(view.job, output))

    def log(self, job_id: str) -> ResponseReturnValue:
        """The log of a job as text, with the traceback of a failure."""
        log = self._service.log(caller(), _checked(job_id), after())
        return Response(
            log.text, mimetype="text/plain", headers={LOG_NEXT: str(log.next), JOB_STATUS: log.status.value}
        )

    def events(self, job_id: str) -> ResponseReturnValue:
        """The events of a job as they happen, as server-sent events."""
        who, root = caller(), request.script_root
        stream = self._service.events(who, _checked(job_id), last_event_id())
        if stream is None:
            return no_content()
        return events_response(stream, lambda: views.job_summary(self._service.view(who, job_id), root))

    def cancel(self, job_id: str | None = None) -> ResponseReturnValue:
        """Cancel a job; returns when it has ended."""
        view = self._service.cancel(caller(), None if job_id is None else _checked(job_id))
        return views.status_body(view), 200 if view.job.status.terminal else 202

    def server_status(self) -> ResponseReturnValue:
        """The worker groups, the queue, uptime and versions."""
        server = self._service.server(caller())
        if server is None:
            return problem(problems.POOL_DOWN, "The controller does not respond.")
        body = server_views.server_body(server, self._versions)
        if (broken := server.pool.broken) is not None:
            return problem(problems.POOL_DOWN, broken, server=body)
        return body

    def schema(self) -> ResponseReturnValue:
        """JSON Schema of a model's arguments of POST /generate."""
        return self._service.model_info(caller(), model_meant()).schema

    def models(self) -> ResponseReturnValue:
        """The models, each with its groups and the JSON Schema of its arguments."""
        return server_views.models_body(self._service.models(caller()))

    def healthz(self) -> ResponseReturnValue:
        """Alive."""
        return {"status": "alive"}

    def readyz(self) -> ResponseReturnValue:
        """Ready for new jobs, or 503 with the reason."""
        return {"status": "ready", "models": self._service.readiness(model_meant())}

    def jobs(self) -> ResponseReturnValue:
        """Jobs, newest first."""
        page = self._service.jobs(caller(), *listing.wanted())
        return views.jobs_body(page, listing.cursor, request.script_root)

    def job(self, job_id: str) -> ResponseReturnValue:
        """All of a job: its arguments, outputs and history."""
        return views.job_body(self._service.job(caller(), _checked(job_id)), request.script_root)

    def delete(self, job_id: str) -> ResponseReturnValue:
        """Delete a job that has ended, and its files."""
        self._service.delete(caller(), _checked(job_id))
        return views.deleted_body(job_id)

    def _in_json(self, view: JobView, output: Output) -> Response:
        """The output in base64."""
        file = self._service.open(view.job, output)
        return output_in_json(output, file, views.result_body(view, output, request.script_root))

    def _result(self, view: JobView) -> Response:
        """What has become of a job that has ended: its output as the client wants it, or a problem."""
        job = view.job
        if job.output is None:
            return _no_output(job)
        index = file_wanted(job)
        if index is None:
            return self._in_json(view, job.output)
        response = output_file(job.outputs[index], self._service.open(job, job.outputs[index]))
        response.headers["Content-Location"] = views.output_url(job, request.script_root, index)
        return response

    def _looked_up(self, job_id: str) -> JobView:
        seconds = wait_seconds()
        _checked(job_id)
        return self._service.wait(caller(), job_id, seconds) if seconds else self._service.view(caller(), job_id)


def _checked(job_id: str) -> str:
    if not JOB_ID.fullmatch(job_id):
        raise JobNotFound("no such job: an id has up to 64 hexadecimal digits")
    return job_id


def _unfinished(view: JobView) -> ResponseReturnValue:
    """The response for a job without an output: 202 on its way, 410 canceled, 500 failed."""
    if view.job.status.terminal:
        return _no_output(view.job)
    return views.status_body(view), 202, POLL_AGAIN


def _no_output(job: Job) -> Response:
    """The problem of a job that has ended without an output."""
    known = {"request_id": job.id, "attempts": job.attempts, "seed": job.seed}
    if job.status is JobStatus.CANCELED:
        return problem(problems.JOB_CANCELED, "It has no output.", **known, step=job.step)
    error = job.error.as_dict() if job.error is not None else {"type": "exception", "message": "unknown"}
    return problem(problems.JOB_FAILED, error["message"], **known, error=error, timings=views.timings(job))
