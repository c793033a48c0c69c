"""The native dialect's errors: problem+json (RFC 9457)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flask import Response, request
from werkzeug.wsgi import get_path_info

from para_attn_server.http.kit.jsons import dumps
from para_attn_server.http.kit.problems import Problem, ProblemType

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

PROBLEM_JSON = "application/problem+json"
_TYPE_PREFIX = "urn:para-attn-server:problem:"


def problem(kind: ProblemType, detail: str, **further: Any) -> Response:
    """The response to the present request. further: more members."""
    return render(Problem(kind, detail, further), request.environ)


def render(problem: Problem, environ: WSGIEnvironment) -> Response:
    """A problem as a response to the request of that environ."""
    kind = problem.kind
    body = {
        "type": _type(kind),
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "instance": environ.get("SCRIPT_NAME", "").rstrip("/") + get_path_info(environ),
        **problem.further,
    }
    return Response(dumps(body) + "\n", kind.status, [*problem.all_headers()], mimetype=PROBLEM_JSON)


def narrowed(reference: dict[str, Any], kinds: Sequence[ProblemType]) -> dict[str, Any]:
    """The schema of problems of these kinds."""
    return {"allOf": [reference], "properties": {"type": {"enum": [_type(kind) for kind in kinds]}}}


def _type(kind: ProblemType) -> str:
    """A problem's type, a URI."""
    return _TYPE_PREFIX + kind.slug if kind.slug else "about:blank"
