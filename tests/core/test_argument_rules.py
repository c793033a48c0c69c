"""Rules over several arguments: judged alike by web and ranks, refused with what works."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import numpy as np
import pytest
from pydantic import AfterValidator, BaseModel, Field

from para_attn_server.core.arguments.model import arguments_model, parsed
from para_attn_server.core.arguments.request import RequestValidator
from para_attn_server.core.arguments.rules import KEYWORD
from para_attn_server.core.arguments.schema import request_schema
from para_attn_server.core.errors import InvalidInput, SetupFailed

Side = Annotated[int, Field(ge=64, le=512, multiple_of=16)]
Limits = dict[str, dict[str, Any]]
FRAMES: Limits = {"num_frames - 1": {"multipleOf": 4}}
TOKENS: Limits = {"height * width // 256": {"multipleOf": 3, "maximum": 600}, **FRAMES}


def predict(
    height: Side = 192,
    width: Side = 192,
    num_frames: Annotated[int, Field(ge=1, le=81)] = 81,
    strength: float | None = None,
    half: Annotated[int, AfterValidator(lambda value: value // 2)] = 8,
) -> None:
    """Of a video."""


def refusals(limits: Limits, **body: Any) -> tuple[Any, Any]:
    """What the web says, by way of the schema's text, and what a rank says."""
    model: type[BaseModel] = arguments_model(predict, limits)
    validator = RequestValidator(json.loads(json.dumps(request_schema(model))))
    complete = {"height": 192, "width": 192, "num_frames": 81, "strength": None, "half": 8, **body}
    said: list[Any] = []
    for judge in (lambda: validator.validate(body), lambda: parsed(model, complete)):
        try:
            judge()
            said.append([])
        except InvalidInput as error:
            said.append([(field.pointer, field.detail) for field in error.fields])
    return said[0], said[1]


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        (
            {"num_frames": 80},
            "#/num_frames",
            "num_frames - 1 must be a multiple of 4, which it is not with num_frames 80; "
            "the nearest that work: num_frames 77 or 81",
        ),
        (
            {"height": 64, "width": 64},
            "#/height",
            "height * width // 256 must be at most 600 and a multiple of 3, which it is not "
            "with height 64, width 64; the nearest that work: height 96, or width 96",
        ),
        (
            {"height": 512, "width": 512},
            "#/height",
            "height * width // 256 must be at most 600 and a multiple of 3, which it is not "
            "with height 512, width 512; the nearest that work: height 288, or width 288",
        ),
    ],
)
def test_a_rule_that_is_broken_names_the_nearest_values_that_work(
    body: dict[str, Any], pointer: str, detail: str
) -> None:
    web, rank = refusals(TOKENS, **body)
    assert web == rank == [(pointer, detail)]


@pytest.mark.parametrize("body", [{}, {"num_frames": 1}, {"height": 96, "width": 64, "num_frames": 5}])
def test_what_keeps_to_the_rules_passes(body: dict[str, Any]) -> None:
    assert refusals(TOKENS, **body) == ([], [])


def test_each_broken_rule_is_named_and_a_proposal_keeps_all() -> None:
    limits: Limits = {**FRAMES, "num_frames": {"maximum": 50}, "(num_frames + 3) % 8": {"maximum": 0}, "half": {}}
    with pytest.raises(SetupFailed, match=r"the default of predict's argument 'num_frames' is refused"):
        refusals(limits)
    web, rank = refusals({**FRAMES, "(num_frames + 7) % 8": {"maximum": 0}}, num_frames=10)
    assert web == rank and [pointer for pointer, _ in web] == ["#/num_frames"] * 2
    assert all(detail.endswith("num_frames 9 or 17") for _, detail in web)


def test_a_rule_of_a_number_that_is_null_or_made_anew_is_judged_alike() -> None:
    assert refusals({"strength * 2": {"maximum": 1}}, strength=None) == ([], [])
    web, rank = refusals({"strength * 2": {"maximum": 1}}, strength=0.75)
    assert web == rank == [("#/strength", "strength * 2 must be at most 1, which it is not with strength 0.75")]
    assert refusals({"half * 1": {"minimum": 8}}, half=8) == ([], []), "as it came, before validators"


def test_the_schema_has_the_rules() -> None:
    assert request_schema(arguments_model(predict, TOKENS))[KEYWORD] == TOKENS
    assert KEYWORD not in request_schema(arguments_model(predict, {"height": {"multipleOf": 32}}))
    numpy: Limits = {"height + width": {"multipleOf": np.int64(16)}}
    assert (
        json.dumps(request_schema(arguments_model(predict, numpy))[KEYWORD]) == '{"height + width": {"multipleOf": 16}}'
    )


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"height * depth": {"multipleOf": 2}}, "limits\\(\\) names 'depth', which is not an argument"),
        ({"height *": {"multipleOf": 2}}, "an expression has names of arguments, whole numbers"),
        ({"__import__('os').x": {"multipleOf": 2}}, "an expression has names of arguments"),
        ({"height / 2": {"multipleOf": 2}}, "an expression has names of arguments"),
        ({"height ** width": {"multipleOf": 2}}, "an expression has names of arguments"),
        ({"height // width": {"multipleOf": 2}}, "// and % take a number from 1 on"),
        ({"height % 0": {"multipleOf": 2}}, "// and % take a number from 1 on"),
        ({"1 + 1": {"multipleOf": 2}}, "which names no argument"),
        ({"height + 1": {"multipleOf": 0}}, "each with a whole number, not multipleOf: 0"),
        ({"height + 1": {"multipleOf": 1.5}}, "not multipleOf: 1.5"),
        ({"height + 1": {"pattern": 1}}, "not pattern: 1"),
        ({"height + 1": {"maximum": 9}}, "the defaults of predict's arguments break limits"),
        ({"+".join(["height"] * 60): {}}, "nested too deeply"),
        ({"height + 0" * 99: {}}, "an expression has"),
    ],
)
def test_what_is_no_rule_ends_the_setup(limits: Limits, words: str) -> None:
    with pytest.raises(SetupFailed, match=words):
        arguments_model(predict, limits)


def test_huge_numbers_and_hopeless_searches_are_quick() -> None:
    def free(a: int = 1, b: int = 1, c: float = 1.0) -> None: ...

    model = arguments_model(free, {"a * b * a * b": {"maximum": 10**6}, "c * a * 0": {"maximum": 0}})
    validator = RequestValidator(request_schema(model))
    began = time.process_time()
    for body in ({"a": 10**299, "b": 10**299}, {"a": 10**299, "c": 1e300}):
        with pytest.raises(InvalidInput):
            validator.validate(body)
    assert time.process_time() - began < 1
