"""The native dialect as the server takes it."""

from __future__ import annotations

from para_attn_server.http.kit.dialect import Dialect, ErrorShape
from para_attn_server.http.native.problem_json import PROBLEM_JSON, narrowed, render
from para_attn_server.http.native.routes import native_routes
from para_attn_server.http.native.shortcut import status_shortcut
from para_attn_server.http.native.views import ProblemBody
from para_attn_server.service.service import JobService


def make(service: JobService) -> Dialect:
    """The dialect over a service."""
    errors = ErrorShape(render, PROBLEM_JSON, ProblemBody, narrowed)
    return Dialect("native", native_routes(service), errors, ("",), status_shortcut(service))
