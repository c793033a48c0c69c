"""Whether an answer is one that the OpenAPI document of its server knows."""

from __future__ import annotations

import re
from typing import Any

import httpx
from jsonschema import Draft202012Validator


class Document:
    """An OpenAPI document that answers are held against."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._paths = [
            (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), item) for path, item in document["paths"].items()
        ]

    def check(self, answer: httpx.Response) -> None:
        """Raises AssertionError unless status, media type, headers and body are documented for that operation."""
        request = answer.request
        method = "get" if request.method == "HEAD" else request.method.lower()
        operation = next((item.get(method) for path, item in self._paths if path.fullmatch(request.url.path)), None)
        if operation is None:
            assert answer.status_code in (404, 405)
            return
        known = operation["responses"]
        where = f"{request.method} {request.url} {answer.status_code}"
        assert str(answer.status_code) in known, f"{where} is not documented"
        response = self._resolved(known[str(answer.status_code)])
        assert set(response.get("headers", {})) <= {name.title() for name in answer.headers} | {"ETag"}, where
        if request.method != "HEAD" and answer.status_code not in (204, 304):
            self._check_body(answer, response.get("content", {}), where)

    def _check_body(self, answer: httpx.Response, content: dict[str, Any], where: str) -> None:
        media_type = answer.headers.get("content-type", "").partition(";")[0]
        assert media_type in content or "*/*" in content, f"{where} answers with {media_type}"
        schema = content.get(media_type, content.get("*/*")).get("schema")
        if schema is not None:
            whole = {**schema, "components": self._document["components"]}
            Draft202012Validator(whole).validate(answer.json())

    def _resolved(self, response: dict[str, Any]) -> dict[str, Any]:
        reference = response.get("$ref", "").rpartition("/")[2]
        return self._document["components"]["responses"][reference] if reference else response
