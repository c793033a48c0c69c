"""From predict's signature to the request schema, and the strict check on the rank."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from para_attn_server.core.arguments.model import arguments_model, digest, validated
from para_attn_server.core.arguments.schema import request_schema
from para_attn_server.core.errors import InvalidInput, SetupFailed


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Sketch:
    """A predictor with one of every kind of argument that requests use."""

    def predict(
        self,
        prompt: str,
        width: Annotated[int, Field(ge=64, le=256, description="Pixels.")] = 128,
        scale: float = 3.5,
        upscale: bool = False,
        seed: int | None = None,
        colours: list[Colour] | None = None,
        mode: Literal["fast", "good"] = "good",
        *,
        output_path: str,
    ) -> None: ...


@pytest.fixture(scope="module")
def sketch() -> type[BaseModel]:
    return arguments_model(Sketch().predict, {"width": {"multipleOf": 32}, "seed": {"maximum": 10}})


def pointers(model: type[BaseModel], **kwargs: Any) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        validated(model, kwargs)
    return [field.pointer for field in caught.value.fields]


# --- the schema ---


def test_the_signature_becomes_the_schema(sketch: type[BaseModel]) -> None:
    schema = request_schema(sketch)
    properties = schema["properties"]
    assert schema["required"] == ["prompt"] and schema["additionalProperties"] is False
    assert list(properties) == ["prompt", "width", "scale", "upscale", "seed", "colours", "mode", "output_path"]
    assert properties["prompt"]["type"] == "string"
    assert properties["width"] == {
        "type": "integer",
        "minimum": 64,
        "maximum": 256,
        "multipleOf": 32,
        "default": 128,
        "title": "Width",
        "description": "Pixels.",
    }
    assert {"type": "integer", "maximum": 10} in properties["seed"]["anyOf"]
    assert properties["mode"]["enum"] == ["fast", "good"]


def test_output_path_is_an_optional_string_however_predict_declares_it(sketch: type[BaseModel]) -> None:
    schema = request_schema(sketch)
    assert schema["properties"]["output_path"]["type"] == "string"
    assert "output_path" not in schema["required"]


@pytest.mark.parametrize("annotation", [int, int | None, Annotated[int, Field(ge=1)], int | str])
@pytest.mark.parametrize("default", [..., 3])
def test_an_integer_seed_may_be_left_out_or_null_since_it_is_drawn(annotation: Any, default: Any) -> None:
    def predict(seed: annotation, output_path: str) -> None: ...

    predict.__annotations__["seed"] = annotation
    predict.__defaults__ = None if default is ... else (default, "")
    schema = request_schema(arguments_model(predict))
    seed = schema["properties"]["seed"]
    assert {"type": "null"} in seed["anyOf"] and "integer" in {option["type"] for option in seed["anyOf"]}
    assert "default" not in seed and "seed" not in schema.get("required", [])
    assert seed["title"] == "Seed" and seed["description"]


def test_an_argument_without_annotation_takes_the_type_of_its_default() -> None:
    class Plain:
        def predict(self, steps=4, anything=None, output_path="") -> None: ...  # type: ignore[no-untyped-def]

    properties = request_schema(arguments_model(Plain().predict))["properties"]
    assert properties["steps"]["type"] == "integer"
    assert "type" not in properties["anything"]


def test_a_predictor_without_arguments_takes_only_an_output_path() -> None:
    class Bare:
        def predict(self, output_path: str) -> None: ...

    model = arguments_model(Bare().predict)
    assert list(request_schema(model)["properties"]) == ["output_path"]
    assert validated(model, {}) == {}
    assert pointers(model, prompt="a") == ["#/prompt"]


# --- broken contracts ---


class Broken:
    def star_args(self, *prompts: str, output_path: str) -> None: ...
    def star_kwargs(self, output_path: str, **options: Any) -> None: ...
    def positional(self, prompt: str, /, output_path: str) -> None: ...
    def private(self, _prompt: str, output_path: str) -> None: ...
    def unknown_type(self, prompt: Nowhere, output_path: str) -> None: ...  # type: ignore[name-defined]  # noqa: F821
    def no_json(self, prompt: Callable[[], int], output_path: str) -> None: ...
    def no_schema(self, prompt: Broken, output_path: str) -> None: ...


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("star_args", r"\*prompts"),
        ("star_kwargs", r"\*\*options"),
        ("positional", "prompt.* cannot be"),
        ("private", "must not begin with an underscore"),
        ("unknown_type", "Nowhere"),
        ("no_json", "'prompt' cannot come from a request"),
        ("no_schema", "'prompt' cannot come from a request: .*write str, int, float"),
    ],
)
def test_a_signature_that_breaks_the_contract_is_named(method: str, says: str) -> None:
    with pytest.raises(SetupFailed, match=says):
        request_schema(arguments_model(getattr(Broken(), method)))


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"height": {"minimum": 1}}, "'height', which is not an argument"),
        ({"width": {"max": 1}}, r"unknown.*\['max'\]"),
    ],
)
def test_limits_that_mean_nothing_are_named(limits: dict[str, dict[str, Any]], says: str) -> None:
    with pytest.raises(SetupFailed, match=says):
        arguments_model(Sketch().predict, limits)


# --- the check on the rank ---


def test_valid_arguments_come_back_as_their_types(sketch: type[BaseModel]) -> None:
    given = {"prompt": "a", "width": 64, "scale": 2, "seed": 7, "colours": ["red"], "mode": "fast", "upscale": True}
    arguments = validated(sketch, given)
    assert arguments == {**given, "scale": 2.0, "colours": [Colour.RED]}
    assert type(arguments["scale"]) is float and type(arguments["colours"][0]) is Colour


def test_what_is_left_out_takes_its_default(sketch: type[BaseModel]) -> None:
    assert validated(sketch, {"prompt": "a"}) == {
        "prompt": "a",
        "width": 128,
        "scale": 3.5,
        "upscale": False,
        "seed": None,
        "colours": None,
        "mode": "good",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", True),
        ("width", "128"),
        ("width", 128.0),
        ("width", 128.5),
        ("width", None),
        ("width", [128]),
        ("width", 63),
        ("width", 257),
        ("width", 65),
        ("seed", 11),
        ("seed", "7"),
        ("scale", "2.0"),
        ("scale", False),
        ("scale", math.nan),
        ("scale", math.inf),
        ("upscale", 1),
        ("upscale", "true"),
        ("prompt", 5),
        ("prompt", b"bytes".decode().split()),
        ("mode", "best"),
        ("colours", "red"),
        ("colors", ["red"]),
    ],
)
def test_a_wrong_argument_is_refused_by_name(sketch: type[BaseModel], name: str, value: Any) -> None:
    assert pointers(sketch, **{"prompt": "a", name: value}) == [f"#/{name}"]


def test_every_wrong_argument_is_named(sketch: type[BaseModel]) -> None:
    assert sorted(pointers(sketch, width="x", mode=3, unknown=1)) == ["#/mode", "#/prompt", "#/unknown", "#/width"]


def test_a_wrong_place_is_a_json_pointer(sketch: type[BaseModel]) -> None:
    assert pointers(sketch, prompt="a", colours=["red", "pink"]) == ["#/colours/1"]
    assert pointers(sketch, **{"prompt": "a", "a/b~c": 1}) == ["#/a~1b~0c"]


# --- the digest ---

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_the_digest_knows_no_order_and_fits_its_word(kwargs: dict[str, Any]) -> None:
    backwards = dict(reversed(kwargs.items()))
    assert digest(kwargs, "/out/a.png") == digest(backwards, "/out/a.png")
    assert 0 <= digest(kwargs, "/out/a.png") < 2**40


def test_the_digest_tells_values_types_and_paths_apart() -> None:
    variants = [
        digest({"a": 1}, "p"),
        digest({"a": 1.0}, "p"),
        digest({"a": "1"}, "p"),
        digest({"a": True}, "p"),
        digest({"b": 1}, "p"),
        digest({"a": 1, "b": None}, "p"),
        digest({"a": 1}, "q"),
    ]
    assert len(set(variants)) == len(variants)
