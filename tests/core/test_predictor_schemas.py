"""The schemas of the shipped predictors: every argument is described and bounded, and the defaults are valid."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ranks import pretend_world

from para_attn_predictors.demo import DemoPredictor
from para_attn_predictors.flux import FluxPredictor
from para_attn_server.core.arguments.model import arguments_model, validated
from para_attn_server.core.arguments.schema import request_schema
from para_attn_server.core.errors import InvalidInput
from para_attn_server.core.predictor import Predictor

SHIPPED = [FluxPredictor, DemoPredictor]


def limited_schema(predictor: Predictor, ranks: int) -> dict[str, Any]:
    """The schema that a group of so many ranks reports."""
    predictor.pipe = SimpleNamespace(vae_scale_factor=8)
    with pretend_world(ranks):
        return request_schema(arguments_model(predictor.predict, predictor.limits()))


def branches(argument: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives that are not null."""
    return [branch for branch in argument.get("anyOf", [argument]) if branch["type"] != "null"]


@pytest.mark.parametrize("predictor_class", SHIPPED)
def test_every_argument_is_described_and_bounded(predictor_class: type[Predictor]) -> None:
    for name, argument in limited_schema(predictor_class(), 1)["properties"].items():
        assert argument["description"].endswith("."), name
        for branch in branches(argument):
            numeric = branch["type"] in ("integer", "number")
            assert {"minimum", "maximum"} <= branch.keys() if numeric else "minLength" in branch, name


@pytest.mark.parametrize("predictor_class", SHIPPED)
def test_only_the_prompt_is_required(predictor_class: type[Predictor]) -> None:
    assert limited_schema(predictor_class(), 1)["required"] == ["prompt"]


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("predictor_class", SHIPPED)
def test_defaults_are_valid_on_any_number_of_ranks(predictor_class: type[Predictor], ranks: int) -> None:
    predictor = predictor_class()
    properties = limited_schema(predictor, ranks)["properties"]
    with pretend_world(ranks):
        model = arguments_model(predictor.predict, predictor.limits())
    arguments = validated(model, {"prompt": "a red circle"})
    given = {"prompt": "a red circle", "seed": None}
    assert arguments == {n: p.get("default", given.get(n)) for n, p in properties.items() if n != "output_path"}


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_flux_sizes_and_text_divide_by_the_ranks(ranks: int) -> None:
    schema = limited_schema(FluxPredictor(), ranks)
    properties = schema["properties"]
    assert properties["height"]["multipleOf"] == properties["width"]["multipleOf"] == 16
    assert schema["x-limits"] == {"height // 16 * (width // 16)": {"multipleOf": ranks}}
    assert properties["max_sequence_length"]["multipleOf"] == ranks


def test_demo_bounds() -> None:
    properties = limited_schema(DemoPredictor(), 4)["properties"]
    assert set(properties) == {"prompt", "height", "width", "num_inference_steps", "seed", "output_path"}
    for side in ("height", "width"):
        assert (properties[side]["minimum"], properties[side]["maximum"], properties[side]["default"]) == (64, 256, 128)
    assert (properties["num_inference_steps"]["maximum"], properties["num_inference_steps"]["default"]) == (50, 20)
    assert branches(properties["seed"])[0]["maximum"] == 2**32 - 1


@pytest.mark.parametrize(
    "wrong", [{"height": 80, "width": 80}, {"height": 72}, {"width": 512}, {"seed": -1}, {"seed": 2**32}]
)
def test_demo_refuses_what_four_ranks_cannot_draw(wrong: dict[str, Any]) -> None:
    predictor = DemoPredictor()
    predictor.pipe = SimpleNamespace(vae_scale_factor=8)
    with pretend_world(4):
        model = arguments_model(predictor.predict, predictor.limits())
    with pytest.raises(InvalidInput) as refused:
        validated(model, {"prompt": "a red circle", **wrong})
    assert all(field.pointer.startswith(f"#/{next(iter(wrong))}") for field in refused.value.fields)
