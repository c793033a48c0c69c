"""From the words of `generate` to the arguments of a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from para_attn_server.cli.arguments import request_arguments

SCHEMA = {
    "properties": {
        "prompt": {"type": "string"},
        "steps": {"type": "integer"},
        "scale": {"type": "number"},
        "fast": {"type": "boolean"},
        "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "negative": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "size": {"$ref": "#/$defs/Size"},
        "box": {"type": "array", "items": {"type": "integer"}},
    },
    "$defs": {"Size": {"type": "string", "enum": ["1", "2"]}},
}


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ([], {}),
        (["a", "red", "circle"], {"prompt": "a red circle"}),
        (["a red circle with E=mc2"], {"prompt": "a red circle with E=mc2"}),
        (["prompt=a=b"], {"prompt": "a=b"}),
        (["prompt=12"], {"prompt": "12"}),
        (
            ["a star", "steps=20", "scale=1.5", "fast=true"],
            {"prompt": "a star", "steps": 20, "scale": 1.5, "fast": True},
        ),
        (["seed=null", "negative=null"], {"seed": None, "negative": None}),
        (["seed=7", "negative=7"], {"seed": 7, "negative": "7"}),
        (["size=1"], {"size": "1"}),
        (["box=[1, 2]"], {"box": [1, 2]}),
        (["scale=NaN"], {"scale": "NaN"}),
        (["steps=many", "unknown=x"], {"steps": "many", "unknown": "x"}),
    ],
)
def test_words_become_arguments(words: list[str], arguments: dict[str, Any]) -> None:
    assert request_arguments(words, [], SCHEMA) == arguments


def test_a_file_is_named_where_the_argument_takes_one(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    one = {"type": "string", "format": "image-input"}
    schema = {"properties": {"image": one, "refs": {"type": "array", "items": one}, "prompt": {"type": "string"}}}
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    words = [f"image=@{a}", f"refs=@{a}", f"refs=@{b}", f"prompt=@{a}"]
    assert request_arguments(words, [], schema) == {"image": a, "refs": [a, b], "prompt": f"@{a}"}
    assert request_arguments(["image=data:x", 'refs=["y"]'], [], schema) == {"image": "data:x", "refs": ["y"]}
    with pytest.raises(click.UsageError, match="image: there is no file"):
        request_arguments(["image=@none.png"], [], schema)


def test_params_say_the_same() -> None:
    assert request_arguments(["a star"], ["steps=3", "negative="], SCHEMA) == {
        "prompt": "a star",
        "steps": 3,
        "negative": "",
    }


def test_a_param_without_a_value_is_a_usage_error() -> None:
    with pytest.raises(click.UsageError, match="NAME=VALUE, not 'steps'"):
        request_arguments([], ["steps"], SCHEMA)


def test_a_prompt_for_a_model_without_one_is_a_usage_error() -> None:
    with pytest.raises(click.UsageError, match=r"no prompt.*one of: steps"):
        request_arguments(["a star"], [], {"properties": {"steps": {"type": "integer"}}})
