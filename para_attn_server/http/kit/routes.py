"""A dialect's routes as one table: what Flask serves, and what GET /openapi.json says of it.

While a request is answered nothing in here runs, but for what lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from para_attn_server.http.kit.problems import ProblemType


@dataclass(frozen=True, slots=True)
class ResponseSpec:
    """One response that is not a problem. body: the type of its JSON object, bytes for a file, None for no body.

    media_type: where the body is not JSON itself, but text with such objects in it. or_file: the client may ask for a
    file in its place. headers: additional ones, by name, each with its meaning.
    """

    status: int
    description: str
    body: type | None = None
    headers: tuple[tuple[str, str], ...] = ()
    or_file: bool = False
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Route:
    """One rule of a dialect. function: its docstring's first line is the summary.

    answers: in success, at least one. problems: beside those that every route may answer with (openapi.py).
    parameters: of the path, the query and headers, as OpenAPI parameter objects. bodies: JSON Schemas of the
    request's body by media type, REQUEST for the arguments of the model; none where a body is not read.
    """

    rule: str
    methods: tuple[str, ...]
    function: Callable[..., ResponseReturnValue]
    answers: tuple[ResponseSpec, ...]
    problems: tuple[ProblemType, ...] = ()
    parameters: tuple[dict[str, Any], ...] = ()
    bodies: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The rule as OpenAPI writes it."""
        return self.rule.replace("<", "{").replace(">", "}")

    @property
    def summary(self) -> str:
        """What the route does, in one line."""
        return (self.function.__doc__ or "").strip().splitlines()[0].rstrip(".")


REQUEST = {"$ref": "#/components/schemas/GenerateRequest"}
"""Of a body that has the model's arguments, whatever they are."""
JSON_REQUEST = {"application/json": REQUEST}
"""The bodies of a route that takes them as JSON alone."""

RETRY_AFTER = ("Retry-After", "Seconds to wait before asking again.")
"""A header of answers, as `ResponseSpec.headers` takes it."""


def endpoints(routes: Iterable[Route]) -> dict[str, str]:
    """What each route is for, by its methods and its path as this client has to write it."""
    root = request.script_root
    return {f"{' or '.join(route.methods)} {root}{route.path}": route.summary for route in routes}


def blueprint(name: str, routes: Iterable[Route]) -> Blueprint:
    """The routes as Flask serves them."""
    made = Blueprint(name, __name__)
    for route in routes:
        made.add_url_rule(route.rule, view_func=route.function, methods=route.methods)
    return made
