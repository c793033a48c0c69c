"""The web's check of a request: what it says, and that it is never laxer than the rank's."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from itertools import combinations
from typing import Annotated, Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field

from para_attn_server.core.arguments import OUTPUT_PATH
from para_attn_server.core.arguments.model import arguments_model, validated
from para_attn_server.core.arguments.request import MAX_DEPTH, MAX_PROBLEMS, RequestValidator
from para_attn_server.core.arguments.schema import request_schema
from para_attn_server.core.errors import InvalidInput


class Point(BaseModel, extra="forbid"):
    """A nested argument."""

    x: int
    y: float = 0.5


def predict(
    prompt: Annotated[str, Field(min_length=1, max_length=20)],
    output_path: str,
    width: Annotated[int, Field(ge=64, le=256, multiple_of=16)] = 128,
    guidance: Annotated[float, Field(gt=0, le=20)] = 3.5,
    scheduler: Literal["euler", "heun"] = "euler",
    level: Literal[1, 2, "auto"] = "auto",
    tiled: bool = False,
    seed: Annotated[int | None, Field(ge=5, le=9)] = None,
    negative: str | None = None,
    points: list[Point] | None = None,
    weights: Annotated[dict[str, float], Field(max_length=2)] = {},  # noqa: B006
    anything: Any = None,
) -> None:
    """Arguments of many kinds."""


MODEL = arguments_model(predict)
VALIDATOR = RequestValidator(request_schema(MODEL))
UNIQUE = RequestValidator({"properties": {"items": {"type": "array", "uniqueItems": True}}})


def refused(body: dict[str, Any], validator: RequestValidator = VALIDATOR) -> dict[str, str]:
    """What is said of each wrong argument."""
    with pytest.raises(InvalidInput) as caught:
        validator.validate(body)
    return {field.pointer: field.detail for field in caught.value.fields}


def validator_of(function: Callable[..., Any]) -> RequestValidator:
    """The check of another signature."""
    return RequestValidator(request_schema(arguments_model(function)))


def test_defaults_are_filled_in_and_the_body_is_left_as_it_was() -> None:
    body: dict[str, Any] = {"prompt": "a"}
    arguments = VALIDATOR.validate(body)
    assert body == {"prompt": "a"}
    assert 5 <= arguments.pop("seed") <= 9
    assert arguments == {
        "prompt": "a",
        "width": 128,
        "guidance": 3.5,
        "scheduler": "euler",
        "level": "auto",
        "tiled": False,
        "negative": None,
        "points": None,
        "weights": {},
        "anything": None,
    }


def test_a_default_is_never_shared_between_requests() -> None:
    VALIDATOR.validate({"prompt": "a"})["weights"]["x"] = 1.0
    assert VALIDATOR.validate({"prompt": "a"})["weights"] == {}


def test_the_output_path_is_passed_on() -> None:
    assert VALIDATOR.validate({"prompt": "a", OUTPUT_PATH: "b.png"})[OUTPUT_PATH] == "b.png"
    assert list(refused({"prompt": "a", OUTPUT_PATH: ""})) == ["#/output_path"]


GUIDANCE = "; it must be a number, above 0 and at most 20"
PROMPT = "; it must be a string, with 1 to 20 characters"


@pytest.mark.parametrize(
    ("argument", "value", "said"),
    [
        ("width", 65, "must be an integer from 64 to 256, a multiple of 16, not 65"),
        ("width", 1024, "must be an integer from 64 to 256, a multiple of 16, not 1024"),
        ("width", "128", 'must be an integer from 64 to 256, a multiple of 16, not "128"'),
        ("width", 128.0, "must be an integer from 64 to 256, a multiple of 16, not 128.0"),
        ("width", True, "must be an integer from 64 to 256, a multiple of 16, not true"),
        ("width", None, "must be an integer from 64 to 256, a multiple of 16, not null"),
        ("guidance", 0, "must be a number, above 0 and at most 20, not 0"),
        ("guidance", False, "must be a number, above 0 and at most 20, not false"),
        ("guidance", math.nan, f"must not be NaN or infinite{GUIDANCE}"),
        ("guidance", math.inf, f"must not be NaN or infinite{GUIDANCE}"),
        ("prompt", math.nan, f"must not be NaN or infinite{PROMPT}"),
        ("guidance", 10**400, f"must be a number below 10**300 in size{GUIDANCE}"),
        ("scheduler", "ddim", 'must be one of "euler", "heun", not "ddim"'),
        ("level", True, 'must be one of 1, 2, "auto", not true'),
        ("tiled", 1, "must be true or false, not 1"),
        ("negative", 3, "must be a string or null, not 3"),
        ("prompt", "", 'must be a string, with 1 to 20 characters, not ""'),
        ("prompt", "\ud800", f"must be valid Unicode text without lone surrogates{PROMPT}"),
        ("weights", {"a": 1, "b": 2, "": 3}, 'must be an object, with at most 2 members, not {"a": 1, "b": 2, "": 3}'),
        ("seed", 4, "must be an integer from 5 to 9 or null, not 4"),
    ],
)
def test_a_wrong_value_is_told_what_would_be_right(argument: str, value: Any, said: str) -> None:
    assert refused({"prompt": "a", argument: value}) == {f"#/{argument}": said}


def test_a_missing_and_an_unknown_argument_are_named() -> None:
    said = refused({"widht": 1, "x/y~z": 2})
    assert said["#/prompt"] == "is missing; it must be a string, with 1 to 20 characters"
    assert said["#/widht"].startswith("is an unknown argument; did you mean width? known: prompt, width,")
    assert said["#/x~1y~0z"].startswith("is an unknown argument; known: prompt, width,")


def test_every_wrong_argument_is_named_once() -> None:
    assert list(refused({"width": -5, "guidance": "x", "steps": 1})) == [
        "#/guidance",
        "#/prompt",
        "#/steps",
        "#/width",
    ]


def test_a_wrong_member_of_a_nested_argument_is_pointed_at() -> None:
    said = refused({"prompt": "a", "points": [{"x": 1}, {"x": "1", "z": 1}]})
    assert said["#/points/1/x"] == 'must be an integer, not "1"'
    assert said["#/points/1/z"] == "is an unknown argument; known: x, y"
    assert refused({"prompt": "a", "points": 3})["#/points"] == "must be an array or null, not 3"


def test_a_long_value_is_cut_short() -> None:
    assert len(refused({"prompt": "a" * 10_000})["#/prompt"]) < 200


def test_endless_nesting_is_refused() -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH + 5):
        value = [value]
    assert "deeper" in next(iter(refused({"prompt": "a", "anything": value}).values()))


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({f"x{number}": 1 for number in range(9_000)}, MAX_PROBLEMS),
        ({"points": [3] * 19_000}, MAX_PROBLEMS),
        ({"anything": [math.nan] * 10_000_000}, MAX_PROBLEMS),
        ({"anything": [1] * 10_000_000}, 1),
        ({f"x{number}": 1 for number in range(200_000)}, 1),
    ],
)
def test_a_flood_is_answered_briefly_and_soon(body: dict[str, Any], named: int) -> None:
    began = time.process_time()
    assert len(refused({"prompt": "a", **body})) == named
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "items",
    [
        [1, *map(str, range(19_900))],
        [None, *(number * (2**61 - 1) for number in range(19_900))],  # which Python gives one and the same hash
        [{"a": [number]} for number in range(4_900)],
    ],
    ids=["not sortable", "one hash", "objects"],
)
def test_a_flood_of_items_that_must_differ_is_judged_soon(items: list[Any]) -> None:
    began = time.process_time()
    assert UNIQUE.validate({"items": items})
    assert time.process_time() - began < 3


def test_items_that_must_differ_are_said_to() -> None:
    def predict(styles: set[str], output_path: str) -> None: ...

    said = refused({"styles": ["a", "b", "a"]}, validator_of(predict))
    assert said == {"#/styles": 'must be an array, with no item twice, not ["a", "b", "a"]'}


def test_a_surrogate_in_a_key_is_refused() -> None:
    said = "must be valid Unicode text without lone surrogates"
    assert refused({"prompt": "a", "anything": {"\ud800": 1}}) == {"#/anything/?": said}
    assert refused({"prompt": "a", "\ud800": math.nan})["#/?"]


# --- the seed ---


def test_a_seed_is_drawn_over_its_whole_range_and_null_is_as_good_as_left_out() -> None:
    drawn = {VALIDATOR.validate({"prompt": "a", "seed": None})["seed"] for _ in range(300)}
    assert drawn == {5, 6, 7, 8, 9}
    assert VALIDATOR.validate({"prompt": "a", "seed": 7})["seed"] == 7


def test_a_required_seed_is_drawn_too() -> None:
    def predict(seed: int, output_path: str) -> None: ...

    seeds = {validator_of(predict).validate({})["seed"] for _ in range(20)}
    assert len(seeds) == 20
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_a_seed_left_out_is_drawn_though_predict_has_a_default_for_other_callers() -> None:
    def predict(output_path: str, seed: int = 42) -> None: ...

    assert len({validator_of(predict).validate({})["seed"] for _ in range(20)}) == 20
    assert len({validator_of(predict).validate({"seed": None})["seed"] for _ in range(20)}) == 20
    assert validator_of(predict).validate({"seed": 42})["seed"] == 42


@pytest.mark.parametrize(
    ("bounds", "least", "most"),
    [
        ({"exclusiveMinimum": 3, "exclusiveMaximum": 6}, 4, 5),
        ({"minimum": -2, "maximum": -1}, -2, -1),
        ({"maximum": 1}, 0, 1),
        ({"minimum": 2**40, "maximum": 2**40}, 2**40, 2**40),
        ({"maximum": -5}, -5 - (2**32 - 1), -5),
        ({"minimum": 10**6}, 10**6, 10**6 + 2**32 - 1),
    ],
)
def test_a_drawn_seed_obeys_its_bounds(bounds: dict[str, int], least: int, most: int) -> None:
    validator = RequestValidator({"properties": {"seed": {"type": "integer", **bounds}}})
    assert all(least <= validator.validate({})["seed"] <= most for _ in range(50))


@pytest.mark.parametrize(
    ("bounds", "seeds"),
    [
        ({"minimum": 1, "maximum": 9, "multipleOf": 4}, {4, 8}),
        ({"minimum": -5, "maximum": 4, "multipleOf": 4}, {-4, 0, 4}),
        ({"exclusiveMinimum": 0, "maximum": 6, "multipleOf": 3}, {3, 6}),
    ],
)
def test_a_drawn_seed_is_a_multiple_where_it_must_be(bounds: dict[str, int], seeds: set[int]) -> None:
    validator = RequestValidator({"properties": {"seed": {"type": "integer", **bounds}}})
    assert {validator.validate({})["seed"] for _ in range(200)} == seeds


def test_a_seed_that_is_no_integer_is_not_drawn() -> None:
    def predict(output_path: str, seed: str | None = None) -> None: ...

    assert validator_of(predict).validate({})["seed"] is None


# --- never laxer than the rank ---

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-300, 300),
    st.integers(),
    st.floats(),
    st.sampled_from([1.0, 2.0, 64.0, 128.0, 5.0, "euler", "heun", "auto", "a", "", 2**53 + 1, 1e308, 16, 80, 0.1]),
    st.text(max_size=25),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y", "z"]), inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = sorted(set(MODEL.model_fields) | {"unknown"})


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(ARGUMENTS), VALUES, max_size=4))
def test_what_the_web_accepts_the_rank_accepts(changes: dict[str, Any]) -> None:
    try:
        arguments = VALIDATOR.validate({"prompt": "a", **changes})
    except InvalidInput as error:
        assert error.fields
        json.dumps([field.detail + field.pointer for field in error.fields]).encode()
        return
    validated(MODEL, arguments)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(ARGUMENTS[:-1]), VALUES)
def test_one_argument_at_a_time_is_held_to_the_same_rule(argument: str, value: Any) -> None:
    try:
        arguments = VALIDATOR.validate({"prompt": "a", argument: value})
    except InvalidInput:
        return
    validated(MODEL, arguments)


ALIKE = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 0.0, -0.0, 1.0, 0.5, 2**53, 2.0**53, 2**53 + 1, 1e300, "", "1", "1.0"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["x", "1"]), inner, max_size=2),
    max_leaves=3,
)


@settings(max_examples=500, deadline=None)
@given(st.lists(ALIKE, max_size=5))
@example([[1], [True], [1]])
@example([1, True, [0.0], [False], "1", {"x": 1, "1": 0.5}])
@example([{"x": 1, "1": [-0.0]}, {"1": [0], "x": 1.0}])
def test_items_differ_where_jsonschema_finds_no_two_of_them_equal(items: list[Any]) -> None:
    pairs = combinations(items, 2)  # one by one: its own uniqueItems takes [[1], [true], [1]] for unique
    unique = not any(Draft202012Validator({"const": one}).is_valid(other) for one, other in pairs)
    try:
        assert UNIQUE.validate({"items": items}) and unique
    except InvalidInput:
        assert not unique


@settings(max_examples=100, deadline=None)
@given(VALUES)
def test_anything_goes_where_anything_is_asked_for(value: Any) -> None:
    try:
        arguments = VALIDATOR.validate({"prompt": "a", "anything": value})
    except InvalidInput:
        return
    assert json.loads(json.dumps(arguments))["anything"] == value
