"""GET /openapi.json: the OpenAPI 3.1 document of all dialects, made from their tables of routes.

Shapes of responses and errors come from the dialects' types, the body of a request from the model.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue
from pydantic import TypeAdapter

from para_attn_server.http.kit import problems
from para_attn_server.http.kit.callers import caller
from para_attn_server.http.kit.dialect import Dialect, Dialects
from para_attn_server.http.kit.problems import ProblemType, http_problem
from para_attn_server.http.kit.routes import REQUEST, RETRY_AFTER, ResponseSpec, Route
from para_attn_server.service.service import JobService

EVERYWHERE = (*tuple(http_problem(status) for status in (400, 403, 408, 414, 417, 421, 431, 501)), problems.INTERNAL)
"""Problems of every route: what is not HTTP, comes too slowly or is too long, comes from a web page of another place or
for another host, and a mistake of the server."""

_SCHEMAS = "#/components/schemas/"


def add_document(dialects: Dialects, service: JobService) -> None:
    """Give the first dialect the route of the document that describes all of them, itself included."""

    def openapi() -> ResponseReturnValue:
        """This API as an OpenAPI 3.1 document."""
        schemas = {model.name: model.schema for model in service.models(caller())}
        return document(dialects, schemas, request.root_url.rstrip("/"))

    answer = ResponseSpec(200, "An OpenAPI document.", dict)
    dialects.first.routes.append(Route("/openapi.json", ("GET",), openapi, (answer,), (problems.STORE_UNUSABLE,)))


def document(
    dialects: Iterable[Dialect], request_schemas: Mapping[str, dict[str, Any] | None], url: str = "/"
) -> dict[str, Any]:
    """The document. request_schemas: of each model's arguments; None, as long as it is not known, for any object.

    url: where the client finds the server.
    """
    dialects = list(dialects)
    answers = tuple(a.body for d in dialects for r in d.routes for a in r.answers if a.body not in (None, bytes, dict))
    references, schemas = _shapes(answers, tuple(dialect.errors.body for dialect in dialects))
    paths: dict[str, dict[str, Any]] = {}
    shared: dict[str, dict[str, Any]] = {}
    for dialect in dialects:
        errors = _Errors(dialect, references)
        shared |= errors.shared
        for route in dialect.routes:
            item = paths.setdefault(route.path, {})
            for method in route.methods:
                item[method.lower()] = _operation(route, method, references, errors)
    return {
        "openapi": "3.1.0",
        "info": {"title": "para-attn-server", "version": version("para-attn-server")},
        "servers": [{"url": url}],
        "paths": paths,
        "components": {"responses": shared, "schemas": {**schemas, **_requests(request_schemas)}},
    }


@cache
def _shapes(types: tuple[type, ...], errors: tuple[type, ...]) -> tuple[dict[type, dict[str, Any]], dict[str, Any]]:
    """A reference for each type, and the schemas that they refer to."""
    adapters: list[Any] = [(t, "serialization", TypeAdapter(t)) for t in dict.fromkeys(types)]
    adapters += [(t, "validation", TypeAdapter(t)) for t in dict.fromkeys(errors)]  # which leave out what is not set
    references, schemas = TypeAdapter.json_schemas(adapters, ref_template=_SCHEMAS + "{model}")
    return {key: reference for (key, _), reference in references.items()}, schemas["$defs"]


def _requests(schemas: Mapping[str, dict[str, Any] | None]) -> dict[str, Any]:
    """The schema of a request as a component, its definitions as additional ones; of several models, one of each's."""
    name = REQUEST["$ref"].removeprefix(_SCHEMAS)
    if len(schemas) < 2:
        return _request(name, next(iter(schemas.values()), None))
    components: dict[str, Any] = {
        name: {
            "anyOf": [{"$ref": f"{_SCHEMAS}{name}.{model}"} for model in schemas],
            "description": f"The arguments of the request's model, which is {next(iter(schemas))} where it names none.",
        }
    }
    for model, schema in schemas.items():
        components |= _request(f"{name}.{model}", schema)
    return components


def _request(name: str, schema: dict[str, Any] | None) -> dict[str, Any]:
    """One model's."""
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


def _operation(route: Route, method: str, references: dict[type, dict[str, Any]], errors: _Errors) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": "_".join([method.lower(), *re.findall(r"\w+", route.rule)]),
        "summary": route.summary,
        "parameters": list(route.parameters),
        "responses": {str(a.status): _answer(a, references) for a in route.answers} | dict(errors.of(route)),
    }
    if route.bodies:
        content = {media_type: {"schema": schema} for media_type, schema in route.bodies.items()}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _answer(answer: ResponseSpec, references: dict[type, dict[str, Any]]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": answer.description}
    if answer.body is bytes:
        response["content"] = {"*/*": {}}
    elif answer.body is not None:
        schema = references.get(answer.body, {"type": "object"})
        key = "schema" if answer.media_type == "application/json" else "x-itemSchema"
        response["content"] = {answer.media_type: {key: schema}}
    if answer.or_file:
        response["content"]["*/*"] = {}
    if answer.headers:
        response["headers"] = {name: _header(description) for name, description in answer.headers}
    return response


class _Errors:
    """The errors of a dialect's routes, as it describes them."""

    def __init__(self, dialect: Dialect, references: dict[type, dict[str, Any]]) -> None:
        self._dialect, self._reference = dialect, references[dialect.errors.body]
        self.shared = {f"{dialect.name}-{status}": self._response(kinds) for status, kinds in _SHARED.items()}

    def of(self, route: Route) -> Iterator[tuple[str, dict[str, Any]]]:
        """By status. Any status may also come with nothing more to say of it than that."""
        for status, kinds in sorted(_by_status((*route.problems, *EVERYWHERE)).items()):
            if kinds == _SHARED.get(status):
                yield str(status), {"$ref": f"#/components/responses/{self._dialect.name}-{status}"}
            else:
                yield str(status), self._response(kinds)

    def _response(self, kinds: list[ProblemType]) -> dict[str, Any]:
        shape = self._dialect.errors
        content = {shape.media_type: {"schema": shape.narrowed(self._reference, kinds)}}
        response: dict[str, Any] = {"description": "; ".join(kind.title for kind in kinds), "content": content}
        if any(kind.retry_after for kind in kinds):
            response["headers"] = {RETRY_AFTER[0]: _header(RETRY_AFTER[1])}
        return response


def _by_status(kinds: Iterable[ProblemType]) -> dict[int, list[ProblemType]]:
    found: dict[int, list[ProblemType]] = {}
    for kind in kinds:
        of_status = found.setdefault(kind.status, [http_problem(kind.status)])
        if kind not in of_status:
            of_status.append(kind)
    return found


_SHARED = _by_status(EVERYWHERE)


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}
