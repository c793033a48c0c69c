"""GET /openapi.json: the OpenAPI 3.1 document of all dialects, made from their tables of routes.

Shapes of answers come from the types in `views.py`, problems from `problems.py`, the body of a request from the model.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue
from pydantic import TypeAdapter

from para_attn_server.core.errors import NotAccepting
from para_attn_server.http import problems
from para_attn_server.http.native.views import ProblemBody
from para_attn_server.http.problems import PROBLEM_JSON, ProblemType, http_problem
from para_attn_server.http.routes import REQUEST, RETRY_AFTER, ResponseSpec, Route
from para_attn_server.service.service import JobService

EVERYWHERE = (*tuple(http_problem(status) for status in (400, 403, 408, 414, 417, 421, 431, 501)), problems.INTERNAL)
"""Problems of every route: what is not HTTP, comes too slowly or is too long, comes from a web page of another place or
for another host, and a mistake of the server."""

_SCHEMAS = "#/components/schemas/"


def add_document(routes: list[Route], service: JobService) -> None:
    """Append the route of the document that describes them all, itself included."""

    def openapi() -> ResponseReturnValue:
        """This API as an OpenAPI 3.1 document."""
        try:
            schema = service.model_info().schema
        except NotAccepting:
            schema = None
        return document(routes, schema, request.root_url.rstrip("/"))

    answer = ResponseSpec(200, "An OpenAPI document.", dict)
    routes.append(Route("/openapi.json", ("GET",), openapi, (answer,), (problems.STORE_UNUSABLE,)))


def document(routes: Sequence[Route], request_schema: dict[str, Any] | None, url: str = "/") -> dict[str, Any]:
    """The document. request_schema: of the model's arguments; None, as long as it is not known, for any object.

    url: where the client finds the server.
    """
    types = tuple(a.body for r in routes for a in r.answers if a.body not in (None, bytes, dict))
    references, schemas = _shapes(types)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        item = paths.setdefault(route.path, {})
        for method in route.methods:
            item[method.lower()] = _operation(route, method, references)
    shared = {str(status): _problem(kinds, references[ProblemBody]) for status, kinds in _SHARED.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "para-attn-server", "version": version("para-attn-server")},
        "servers": [{"url": url}],
        "paths": paths,
        "components": {"responses": shared, "schemas": {**schemas, **_request(request_schema)}},
    }


@cache
def _shapes(types: tuple[type, ...]) -> tuple[dict[type, dict[str, Any]], dict[str, Any]]:
    """A reference for each type, and the schemas that they refer to."""
    adapters: list[Any] = [(t, "serialization", TypeAdapter(t)) for t in dict.fromkeys(types)]
    adapters.append((ProblemBody, "validation", TypeAdapter(ProblemBody)))  # an error leaves out what is not set
    references, schemas = TypeAdapter.json_schemas(adapters, ref_template=_SCHEMAS + "{model}")
    return {key: reference for (key, _), reference in references.items()}, schemas["$defs"]


def _request(schema: dict[str, Any] | None) -> dict[str, Any]:
    """The schema of a request as a component, its definitions as additional ones."""
    name = REQUEST["$ref"].removeprefix(_SCHEMAS)
    if schema is None:
        return {name: {"type": "object", "description": "The model's arguments; they are not known yet."}}
    schema = copy.deepcopy(schema)
    _move_references(schema, f"{_SCHEMAS}{name}.")
    definitions = schema.pop("$defs", {})
    return {name: schema, **{f"{name}.{key}": value for key, value in definitions.items()}}


def _move_references(node: Any, target: str) -> None:
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _move_references(value, target)
    for key, value in node.items() if isinstance(node, dict) else ():
        if isinstance(value, str) and value.startswith("#/$defs/"):  # of "$ref", or of a discriminator's mapping
            node[key] = value.replace("#/$defs/", target)


def _operation(route: Route, method: str, references: dict[type, dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": "_".join([method.lower(), *re.findall(r"\w+", route.rule)]),
        "summary": route.summary,
        "parameters": list(route.parameters),
        "responses": {str(a.status): _answer(a, references) for a in route.answers}
        | dict(_problems(route, references[ProblemBody])),
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": route.body}}}
    return operation


def _answer(answer: ResponseSpec, references: dict[type, dict[str, Any]]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": answer.description}
    if answer.body is bytes:
        response["content"] = {"*/*": {}}
    elif answer.body is not None:
        response["content"] = {"application/json": {"schema": references.get(answer.body, {"type": "object"})}}
    if answer.headers:
        response["headers"] = {name: _header(description) for name, description in answer.headers}
    return response


def _problems(route: Route, problem: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """By status. Any status may also come with nothing more to say of it than that."""
    for status, kinds in sorted(_by_status((*route.problems, *EVERYWHERE)).items()):
        if kinds == _SHARED.get(status):
            yield str(status), {"$ref": f"#/components/responses/{status}"}
        else:
            yield str(status), _problem(kinds, problem)


def _by_status(kinds: Iterable[ProblemType]) -> dict[int, list[ProblemType]]:
    found: dict[int, list[ProblemType]] = {}
    for kind in kinds:
        of_status = found.setdefault(kind.status, [http_problem(kind.status)])
        if kind not in of_status:
            of_status.append(kind)
    return found


_SHARED = _by_status(EVERYWHERE)


def _problem(kinds: list[ProblemType], problem: dict[str, Any]) -> dict[str, Any]:
    schema = {"allOf": [problem], "properties": {"type": {"enum": [kind.type for kind in kinds]}}}
    response = {"description": "; ".join(k.title for k in kinds), "content": {PROBLEM_JSON: {"schema": schema}}}
    if any(kind.retry_after for kind in kinds):
        response["headers"] = {RETRY_AFTER[0]: _header(RETRY_AFTER[1])}
    return response


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}
