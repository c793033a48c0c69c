"""GET /openapi.json: valid, complete, and what the server does."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from jsonschema import ValidationError
from openapi_spec_validator import OpenAPIV31SpecValidator
from waiting import wait_until
from web import DOCUMENT, SCHEMA, Web, dialects

from para_attn_server.core.settings import load_settings
from para_attn_server.http.app import create_app
from para_attn_server.http.kit.openapi import document
from para_attn_server.http.kit.routes import Route

NESTED = {
    "type": "object",
    "properties": {"point": {"$ref": "#/$defs/Point"}},
    "$defs": {"Point": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Point"}}}},
}
CHOSEN = {
    "type": "object",
    "properties": {
        "shape": {
            "oneOf": [{"$ref": "#/$defs/Dot"}],
            "discriminator": {"propertyName": "kind", "mapping": {"dot": "#/$defs/Dot"}},
        }
    },
    "$defs": {"Dot": {"type": "object", "properties": {"kind": {"const": "dot"}}, "required": ["kind"]}},
}


def valid(made: dict[str, Any]) -> dict[str, Any]:
    """The document, which is valid OpenAPI 3.1."""
    OpenAPIV31SpecValidator(made).validate()
    return made


def operations(made: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(method.upper(), path): op for path, item in made["paths"].items() for method, op in item.items()}


def test_no_reference_is_left_to_definitions_that_have_moved() -> None:
    assert "#/$defs/" not in json.dumps(valid(document(dialects(), {"a": CHOSEN})))


@pytest.mark.parametrize("schema", [None, SCHEMA, NESTED], ids=["unknown", "flat", "nested"])
def test_it_is_valid_whatever_the_model_takes(schema: dict[str, Any] | None) -> None:
    made = valid(document(dialects(), {"a": schema}))
    request = made["components"]["schemas"]["GenerateRequest"]
    assert request["type"] == "object"
    assert set(request.get("properties", {})) == set((schema or {}).get("properties", {}))


def test_the_models_definitions_are_found_where_they_are_put() -> None:
    schemas = document(dialects(), {"a": NESTED})["components"]["schemas"]
    reference = {"$ref": "#/components/schemas/GenerateRequest.Point"}
    assert schemas["GenerateRequest"]["properties"]["point"] == reference
    assert schemas["GenerateRequest.Point"]["properties"]["next"] == reference
    assert NESTED["properties"]["point"] == {"$ref": "#/$defs/Point"}


def test_of_several_models_each_has_its_arguments_in_it() -> None:
    schemas = valid(document(dialects(), {"flat": SCHEMA, "nested": NESTED, "new": None}))["components"]["schemas"]
    names = [f"GenerateRequest.{model}" for model in ("flat", "nested", "new")]
    assert schemas["GenerateRequest"]["anyOf"] == [{"$ref": f"#/components/schemas/{name}"} for name in names]
    assert set(schemas[names[0]]["properties"]) == set(SCHEMA["properties"])
    assert schemas[names[1]]["properties"]["point"] == {"$ref": "#/components/schemas/GenerateRequest.nested.Point"}
    assert schemas[names[2]]["type"] == "object"


def test_every_rule_is_in_it_and_no_other() -> None:
    service: Any = None
    rules = create_app(service, load_settings()).url_map.iter_rules()
    served = {
        (method, re.sub(r"<(\w+)>", r"{\1}", rule.rule))
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert len(served) > 10
    assert set(operations(document(dialects(), {}))) == served


@pytest.mark.parametrize("route", dialects().first.routes, ids=lambda route: route.rule)
def test_a_route_names_its_parameters_and_one_success_at_least(route: Route) -> None:
    in_path = {parameter["name"] for parameter in route.parameters if parameter["in"] == "path"}
    assert in_path == set(re.findall(r"<(\w+)>", route.rule))
    assert any(200 <= answer.status < 300 for answer in route.answers)
    assert route.summary


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (200, {"status": "dead"}, "'alive' was expected"),
        (200, {}, "'status' is a required property"),
        (404, {}, "404 is not documented"),
        (500, {"type": "urn:x", "title": "a", "status": 500, "detail": "b"}, "is not one of"),
    ],
)
def test_an_answer_of_another_shape_is_noticed(status: int, body: dict[str, Any], says: str) -> None:
    media_type = "application/json" if status == 200 else "application/problem+json"
    request = httpx.Request("GET", "http://localhost/healthz")
    answer = httpx.Response(status, json=body, headers={"Content-Type": media_type}, request=request)
    with pytest.raises((AssertionError, ValidationError), match=says):
        DOCUMENT.check(answer)


def test_the_server_serves_it_with_the_models_schema_and_without(web: Web) -> None:
    made = valid(web.get("/openapi.json").json())
    assert made["components"]["schemas"]["GenerateRequest"] == web.get("/schema").json()
    web.put_schema(None)
    wait_until(lambda: web.get("/schema").status_code == 503, 5)
    made = valid(web.get("/openapi.json").json())
    assert made["components"]["schemas"]["GenerateRequest"]["type"] == "object"
