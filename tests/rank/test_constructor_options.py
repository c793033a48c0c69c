"""`--set NAME=VALUE` reaches the constructor as what its signature says, or is refused by name."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cloudpickle
import pytest
import torch

from para_attn_server.core.errors import UsageError
from para_attn_server.core.settings import load_settings
from para_attn_server.core.wire.launch import ModelSpec
from para_attn_server.packing import packed
from para_attn_server.rank.loader import load_predictor
from para_attn_server.rank.options import constructed


class Plan(enum.Enum):
    """How."""

    ULYSSES = "ulysses"


class Odd:
    """No text says what it is."""


class Model:
    """Takes everything."""

    def __init__(
        self,
        path: str = "here",
        dtype: torch.dtype | None = None,
        quality: Literal["draft", "final"] = "final",
        plan: Plan = Plan.ULYSSES,
        steps: int = 3,
        scale: float | None = 1.5,
        revision: str | None = "main",
        compiled=False,
        sizes: list[int] = [],  # noqa: B006
        cache: Path = Path("cache"),
        extra: Any = None,
        odd: Odd | None = None,
    ) -> None:
        self.__dict__.update(locals())


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("path", "5", "5"),
        ("dtype", "float16", torch.float16),
        ("quality", "draft", "draft"),
        ("plan", "ulysses", Plan.ULYSSES),
        ("steps", "5", 5),
        ("scale", "2", 2.0),
        ("scale", "null", None),
        ("revision", "null", None),
        ("revision", "5", "5"),
        ("compiled", "true", True),
        ("sizes", "[1, 2]", [1, 2]),
        ("cache", "/x", Path("/x")),
        ("extra", '{"a": 1}', {"a": 1}),
        ("extra", "plain", "plain"),
        ("sizes", [1], [1]),
        ("steps", 4, 4),
    ],
)
def test_a_value_is_of_the_type_that_the_constructor_says(name: str, text: Any, value: Any) -> None:
    found = getattr(constructed(Model, {name: text}), name)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stepz": "1"}, r"--set: Model takes no argument named stepz; did you mean steps\? it takes path, dtype, "),
        ({"steps": "many"}, "--set steps: Input should be a valid integer.*, not 'many'"),
        ({"quality": "best"}, "--set quality: Input should be 'draft' or 'final', not 'best'"),
        ({"odd": "x"}, r"--set odd: its type in Model\.__init__ cannot be written as text"),
        ({"steps": [1]}, r"--set steps: .*, not \[1\]"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        constructed(Model, given)


@dataclass
class Needy:
    """A dataclass, whose annotations are text here."""

    weights: str
    count: int = 1


class Open:
    """Takes any name."""

    def __init__(self, **options: Any) -> None:
        self.options = options


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match="Needy needs weights: give --set weights=VALUE"):
        constructed(Needy, {"count": "2"})
    assert constructed(Needy, {"weights": "w", "count": "2"}) == Needy("w", 2)


def test_a_constructor_that_takes_any_name_gets_any() -> None:
    assert constructed(Open, {"a": "1", "b": "x"}).options == {"a": 1, "b": "x"}


def test_options_and_the_model_path_reach_a_shipped_predictor() -> None:
    flux = load_predictor(ModelSpec("flux", model_path="/weights", options={"dtype": "float16"}))
    assert (flux.model_path, flux.dtype) == ("/weights", "float16")
    with pytest.raises(UsageError, match="--set model_path: it is also given by --model-path"):
        load_predictor(ModelSpec("flux", model_path="/weights", options={"model_path": "/other"}))


SCRIPT = """
from __future__ import annotations
from typing import Literal

class OfAScript:
    def __init__(self, plan: Literal["a", "b"], steps: int | None = None):
        self.plan, self.steps = plan, steps
    def predict(self, x: int): ...
"""


def test_a_class_of_a_script_keeps_the_types_of_its_constructor() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(SCRIPT, names)
    spec = ModelSpec("x", pickled=packed(names["OfAScript"], "x"), options={"plan": "b", "steps": "3"})
    found = load_predictor(spec)
    assert (found.plan, found.steps) == ("b", 3)


def test_an_instance_has_had_its_options() -> None:
    with pytest.raises(UsageError, match="--set: the predictor is an instance"):
        load_predictor(ModelSpec("x", pickled=cloudpickle.dumps(Open()), options={"a": 1}))


@pytest.mark.parametrize("given", [["a=1", "b=x = y"], {"a": "1", "b": "x = y"}, '{"a": "1", "b": "x = y"}'])
def test_settings_take_words_a_dict_or_json(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(set=given)
    assert settings.set == {"a": "1", "b": "x = y"}
    for name, text in settings.as_environment({}).items():
        monkeypatch.setenv(name, text)
    assert load_settings() == settings


@pytest.mark.parametrize("given", ["a", "=1", "a b=1", "{", ["a=1", "b"]])
def test_what_is_no_assignment_is_refused(given: Any) -> None:
    with pytest.raises(UsageError, match=r"^set: "):
        load_settings(set=given)
