"""What the time of a run depends on."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from para_attn_server.core.arguments.shape import Shaper, work

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "prompt": {"type": "string"},
        "negative_prompt": {"type": "string", "default": ""},
        "width": {"type": "integer"},
        "sampler": {"anyOf": [{"$ref": "#/$defs/Sampler"}, {"type": "null"}]},
        "output_path": {"type": "string"},
    },
    "required": ["prompt"],
    "$defs": {"Sampler": {"enum": ["euler", "heun"], "type": "string"}},
}
BASE = {"prompt": "a cat", "negative_prompt": "", "width": 512, "sampler": "euler"}


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a dog"},
        {"seed": 7},
        {"noise_seed": 7},
        {"output_path": "other.png"},
        {"extra": None},
        {"lora": {"name": "x"}},
    ],
)
def test_these_do_not_matter(change: dict[str, Any]) -> None:
    assert Shaper(SCHEMA).shape({**BASE, **change}) == Shaper(SCHEMA).shape(BASE)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 1024},
        {"sampler": "heun"},
        {"negative_prompt": "blurred"},
        {"tiled": True},
        {"strength": 0.5},
        {"images": ["a", "b"]},
    ],
)
def test_these_matter(change: dict[str, Any]) -> None:
    assert Shaper(SCHEMA).shape({**BASE, **change}) != Shaper(SCHEMA).shape(BASE)


@pytest.mark.parametrize(
    ("name", "one", "other", "equal"),
    [
        ("guidance_scale", 3.5, 4, True),
        ("true_cfg_scale", 1, 1.0, True),
        ("guidance_scale", 1.0, 3.5, False),
        ("strength", 0.501, 0.5, True),
        ("images", ["a", "b"], ["c", "d"], True),
        ("number", 10**400, 10**400 + 1, True),
    ],
)
def test_what_is_taken_for_equal(name: str, one: Any, other: Any, equal: Literal[True, False]) -> None:
    shaper = Shaper(SCHEMA)
    assert (shaper.shape({name: one}) == shaper.shape({name: other})) is equal


def test_the_order_of_the_arguments_does_not_matter() -> None:
    assert Shaper({}).shape({"a": 1, "b": 2}) == Shaper({}).shape({"b": 2, "a": 1}) == '{"a": 1, "b": 2}'


@given(st.dictionaries(st.text(max_size=9), st.none() | st.booleans() | st.integers() | st.floats() | st.text()))
def test_every_request_has_a_shape(arguments: dict[str, Any]) -> None:
    shape = Shaper(SCHEMA).shape(arguments)
    assert isinstance(json.loads(shape), dict)
    work(shape)


def test_work_is_steps_times_pixels() -> None:
    small = '{"height": 256, "num_inference_steps": 10, "width": 256, "tiled": true}'
    large = '{"height": 512, "num_inference_steps": 30, "width": 512}'
    assert (work(large) or 0.0) / (work(small) or 1.0) == pytest.approx(12.0)
    assert work('{"strength": 0.5, "width": 0}') is None
    assert work("") is None
