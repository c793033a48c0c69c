"""The native dialect: the routes of the server's own API. Shapes are in `views.py`, errors in `problem_json.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from para_attn_server.core.uploads import DIGEST
from para_attn_server.http.kit import problems
from para_attn_server.http.kit.problems import http_problem
from para_attn_server.http.kit.routes import JSON_REQUEST, RETRY_AFTER, ResponseSpec, Route
from para_attn_server.http.kit.sse import EVENT_STREAM, LAST_EVENT_ID
from para_attn_server.http.kit.uploads import FORM
from para_attn_server.http.kit.waiting import PREFER_PARAMETER, WAIT_PARAMETER
from para_attn_server.http.native import server_views, views
from para_attn_server.http.native.cursors import AFTER_PARAMETER, JOB_STATUS, LOG_NEXT
from para_attn_server.http.native.events import EventBody
from para_attn_server.http.native.handlers import JOB_ID, OUTPUT_INDEX, Native
from para_attn_server.http.native.headers import MODEL_PARAMETER, PARAMETERS
from para_attn_server.http.native.listing import LIST_PARAMETERS
from para_attn_server.service.service import JobService

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
    "schema": {"type": "string", "pattern": f"^{OUTPUT_INDEX.pattern}$"},
}
_UPLOAD: dict[str, Any] = {
    "name": "upload_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": f"^{DIGEST.pattern}$"},
}
_ID_AND_WAIT = (_ID, WAIT_PARAMETER)

_LOCATION = ("Location", "Where the output is, or will be.")
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
    problems.MODEL_NOT_FOUND,
    http_problem(413),
    problems.UPLOAD_TOO_LARGE,
    http_problem(415),
    problems.IDEMPOTENCY_CONFLICT,
    problems.QUEUE_FULL,
    problems.NOT_ACCEPTING,
    problems.INSUFFICIENT_STORAGE,
    problems.STORE_UNUSABLE,
)
_TOO_LARGE = (http_problem(413), problems.UPLOAD_TOO_LARGE)
_NO_ROOM = (problems.NOT_ACCEPTING, problems.INSUFFICIENT_STORAGE)
_FILES: dict[str, dict[str, Any]] = {
    "application/octet-stream": {"type": "string", "format": "binary"},
    FORM: {
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary"}},
        "required": ["file"],
    },
}
_ARGUMENTS: dict[str, dict[str, Any]] = {
    **JSON_REQUEST,
    FORM: {
        "type": "object",
        "description": "The model's arguments, one part each: files for pictures, videos and sounds, texts for others.",
    },
}
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
_EVENTS = (
    ResponseSpec(200, "One event after the other, until the job has ended.", EventBody, media_type=EVENT_STREAM),
    ResponseSpec(204, "The job has ended, and its last event was seen: there is no reason to ask again."),
)
_NO_LOG = (problems.INVALID_INPUT, problems.JOB_NOT_FOUND, problems.STORE_UNUSABLE)
_CANCELED = (
    ResponseSpec(200, "The job has ended.", views.StatusBody),
    ResponseSpec(202, "It has not ended yet.", views.StatusBody),
)


def native_routes(service: JobService) -> list[Route]:
    """The routes of the native dialect over a service."""
    native = Native(service)
    result = ResponseSpec(200, "The job has succeeded.", views.ResultBody)
    output = ResponseSpec(200, "The job has succeeded.", views.OutputBody)
    server = ResponseSpec(200, "The server works.", server_views.ServerBody)
    both = ("GET", "POST")
    native.routes = [
        Route("/", ("GET",), native.index, (ResponseSpec(200, "This server.", server_views.IndexBody),)),
        _generate_route(native),
        *_upload_routes(native),
        Route("/get_output/<job_id>", both, native.get_output, (output, _UNDER_WAY), _NO_FILE, _ID_AND_WAIT),
        Route("/request_status/<job_id>", both, native.request_status, (result, _UNDER_WAY), _NO_OUTPUT, _ID_AND_WAIT),
        *_output_routes(native),
        *_job_routes(native),
        Route("/jobs/<job_id>/log", ("GET",), native.log, (_LOG,), _NO_LOG, (_ID, AFTER_PARAMETER)),
        Route("/jobs/<job_id>/events", ("GET",), native.events, _EVENTS, _NO_LOG, (_ID, LAST_EVENT_ID)),
        Route("/cancel", ("POST",), native.cancel, _CANCELED, _NO_CANCEL),
        Route("/cancel/<job_id>", ("POST",), native.cancel, _CANCELED, _NO_CANCEL, (_ID,)),
        Route("/server_status", both, native.server_status, (server,), (problems.POOL_DOWN, problems.STORE_UNUSABLE)),
        *_model_routes(native),
        Route("/healthz", ("GET",), native.healthz, (ResponseSpec(200, "Alive.", server_views.AliveBody),)),
    ]
    return native.routes


def _model_routes(native: Native) -> Iterator[Route]:
    models = ResponseSpec(200, "The models, the default one first.", server_views.ModelsBody)
    schema, ready = ResponseSpec(200, "A JSON Schema (2020-12).", dict), server_views.ReadyBody
    no_such = (problems.INVALID_INPUT, problems.MODEL_NOT_FOUND, problems.NOT_ACCEPTING, problems.STORE_UNUSABLE)
    meant = (MODEL_PARAMETER,)
    yield Route("/models", ("GET",), native.models, (models,), (problems.STORE_UNUSABLE,))
    yield Route("/schema", ("GET",), native.schema, (schema,), no_such, meant)
    yield Route("/readyz", ("GET",), native.readyz, (ResponseSpec(200, "Ready.", ready),), no_such, meant)


def _upload_routes(native: Native) -> Iterator[Route]:
    kept = ResponseSpec(201, "The file is kept.", views.UploadBody, (("Location", "Where it is described."),))
    found = ResponseSpec(200, "The file is there.", views.UploadBody)
    refused = (*_TOO_LARGE, problems.INVALID_INPUT, http_problem(415), *_NO_ROOM, problems.STORE_UNUSABLE)
    unknown = (problems.UPLOAD_NOT_FOUND, problems.STORE_UNUSABLE)
    yield Route("/uploads", ("POST",), native.upload, (kept,), refused, bodies=_FILES)
    yield Route("/uploads/<upload_id>", ("GET",), native.uploaded, (found,), unknown, (_UPLOAD,))


def _output_routes(native: Native) -> Iterator[Route]:
    refused = (*_NO_FILE, http_problem(412), http_problem(416))
    yield Route("/outputs/<job_id>", ("GET",), native.outputs, _FILE, refused, _ID_AND_WAIT)
    no_such, parameters = (*refused, http_problem(404)), (*_ID_AND_WAIT, _INDEX)
    yield Route("/outputs/<job_id>/<index>", ("GET",), native.outputs, _FILE, no_such, parameters)


def _generate_route(native: Native) -> Route:
    accepted = ResponseSpec(202, "The job is on disk and will be run.", views.AcceptedBody, (_LOCATION, RETRY_AFTER))
    done = "The job has succeeded within `wait`: its output in base64, or the file where Accept asks for that."
    answers = (accepted, ResponseSpec(200, done, views.OutputBody, (_LOCATION,), or_file=True))
    parameters = (WAIT_PARAMETER, PREFER_PARAMETER, *PARAMETERS)
    refused = tuple(dict.fromkeys((*_NO_JOB, *_NO_FILE)))
    return Route("/generate", ("POST",), native.generate, answers, refused, parameters, _ARGUMENTS)


def _job_routes(native: Native) -> Iterator[Route]:
    page = ResponseSpec(200, "A page of jobs, newest first.", views.JobsBody)
    whole = ResponseSpec(200, "The job, also one that has failed.", views.JobBody)
    deleted = ResponseSpec(200, "The job and its files are gone.", views.DeletedBody)
    unread = (problems.JOB_NOT_FOUND, problems.STORE_UNUSABLE)
    refused = (problems.INVALID_INPUT, problems.STORE_UNUSABLE)
    yield Route("/jobs", ("GET",), native.jobs, (page,), refused, LIST_PARAMETERS)
    yield Route("/jobs/<job_id>", ("GET",), native.job, (whole,), unread, (_ID,))
    yield Route("/jobs/<job_id>", ("DELETE",), native.delete, (deleted,), (*unread, problems.JOB_ACTIVE), (_ID,))
