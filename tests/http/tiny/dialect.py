"""Two routes over the service, and errors of another shape than the native ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Response
from flask.typing import ResponseReturnValue
from typing_extensions import TypedDict

from para_attn_server.http.kit import problems
from para_attn_server.http.kit.bodies import json_object
from para_attn_server.http.kit.callers import caller
from para_attn_server.http.kit.dialect import Dialect, ErrorShape
from para_attn_server.http.kit.jsons import dumps
from para_attn_server.http.kit.problems import Problem
from para_attn_server.http.kit.routes import JSON_REQUEST, ResponseSpec, Route
from para_attn_server.service.job_request import JobRequest
from para_attn_server.service.service import JobService

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class Mishap(TypedDict):
    """What went wrong."""

    code: str
    message: str
    param: str | None


class MishapBody(TypedDict):
    """An error."""

    error: Mishap


class PictureBody(TypedDict):
    """A picture that is being made, or is there."""

    id: str
    state: str


def render(problem: Problem, _environ: WSGIEnvironment) -> Response:
    """An error in this dialect's shape."""
    wrong = next(iter(problem.further.get("errors", ())), {})
    mishap: Mishap = {
        "code": problem.kind.slug or str(problem.kind.status),
        "message": problem.detail,
        "param": wrong.get("pointer"),
    }
    return Response(
        dumps({"error": mishap}), problem.kind.status, [*problem.all_headers()], mimetype="application/json"
    )


def make(service: JobService) -> Dialect:
    """The dialect over a service."""

    def create() -> ResponseReturnValue:
        """Make a picture."""
        job = service.submit(caller(), JobRequest(json_object(), api="tiny"))
        return {"id": job.id, "state": job.status}

    def show(job_id: str) -> ResponseReturnValue:
        """How a picture is getting on."""
        job = service.view(caller(), job_id).job
        return {"id": job.id, "state": job.status}

    made = (ResponseSpec(200, "The picture.", PictureBody),)
    name = {"name": "job_id", "in": "path", "required": True, "schema": {"type": "string"}}
    routes = [
        Route(
            "/tiny/pictures",
            ("POST",),
            create,
            made,
            (problems.INVALID_INPUT, problems.QUEUE_FULL),
            bodies=JSON_REQUEST,
        ),
        Route("/tiny/pictures/<job_id>", ("GET",), show, made, (problems.JOB_NOT_FOUND,), (name,)),
    ]
    return Dialect("tiny", routes, ErrorShape(render, "application/json", MishapBody), ("/tiny",))
