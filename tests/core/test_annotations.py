"""Annotations that are no types, or of types that no request can hold: each is refused by name, in plain words."""

from __future__ import annotations

import dataclasses
import os
import sys
import typing
from pathlib import Path, PurePath
from typing import Annotated, Any, NewType, Optional, TypedDict

import numpy as np
import pytest
import torch
from pydantic import Field

from para_attn_server.core.arguments.model import arguments_model
from para_attn_server.core.arguments.schema import request_schema
from para_attn_server.core.arguments.signature import output_path_type
from para_attn_server.core.errors import SetupFailed

INTERNALS = (
    "pydantic-core",
    "Unable to generate",
    "arbitrary_types",
    "__module__",
    "object has no attribute",
    "<class",
    "Traceback",
)


class Plain:
    """Nothing that pydantic knows."""


Nested = dataclasses.make_dataclass("Nested", [("sizes", [int])])
Holder = dataclasses.make_dataclass("Holder", [("plain", Plain)])


class Sizes(TypedDict):
    width: int


def said_of(annotation: Any, default: Any = None, **limits: Any) -> str:
    """Why predict's argument of this annotation is refused."""

    def predict(output_path: str, sizes: Any = default) -> None: ...

    predict.__annotations__["sizes"] = annotation
    with pytest.raises(SetupFailed) as refused:
        arguments_model(predict, {"sizes": limits} if limits else {})
    said = str(refused.value)
    assert "'sizes'" in said and not [words for words in INTERNALS if words in said]
    return said


NO_TYPES: list[tuple[Any, str]] = [
    ([int], "has [int] where a type must be: write list[int]"),
    ("[int]", "has [int] where a type must be: write list[int]"),
    ([int, str], "write list[int | str]"),
    ((int, str), "has (int, str) where a type must be: write int | str for one of them, or tuple[int, str] for all"),
    ([], "write list[int], say"),
    ({"y", "x"}, "has {'x', 'y'} where a type must be: write Literal['x', 'y']"),
    (5, "write int, with the value as the argument's default"),
    ({str: int}, "has {str: int} where a type must be: write dict[str, int]"),
    (dict[str, [int]], "has [int] where a type must be"),  # type: ignore[misc]
    (Optional[any], "has the function any where a type must be: write typing.Any"),  # type: ignore[valid-type]  # noqa: UP045
    (callable, "has the function callable where a type must be: write str, int, float"),
    (typing, "has the module typing where a type must be: write the class in it"),
    (Field(ge=1), "where a type must be: write Annotated[int, Field(...)]"),
    (torch.float16, "has torch.float16 where a type must be: write str"),
    (list[Nested], "has [int] where a type must be"),
    *((form, "where a type must be") for form in (typing.Literal, typing.Union, typing.Final, typing.ClassVar[int])),
    (typing.Self, "where a type must be"),
    ("one of x, y", "cannot be read: 'one of x, y' (invalid syntax); write str, int"),
    ("Optional[[int]]", "cannot be read: 'Optional[[int]]'"),
]


@pytest.mark.parametrize(("annotation", "says"), NO_TYPES, ids=[says[:40] for _, says in NO_TYPES])
def test_what_is_no_type_is_named_with_what_to_write(annotation: Any, says: str) -> None:
    assert says in said_of(annotation)


UNKNOWN: list[tuple[Any, str]] = [
    (Plain, "test_annotations.Plain is not representable in JSON: write str, int, float"),
    (list[Plain] | None, "test_annotations.Plain is not representable in JSON: write str"),
    (Holder, "test_annotations.Plain is not representable in JSON: write str"),
    (torch.dtype, "torch.dtype is not representable in JSON: write Literal['float16', 'bfloat16'], say"),
    (torch.device, "torch.device is not representable in JSON: leave it out"),
    (np.float32, "numpy.float32 is not representable in JSON: write float"),
    (np.int64, "numpy.int64 is not representable in JSON: write int"),
    (np.bool_, "is not representable in JSON: write bool"),
    (set, "write set[int], say, or a list"),
]


@pytest.mark.parametrize(("annotation", "says"), UNKNOWN, ids=lambda value: str(value)[:30])
def test_a_type_that_no_request_can_hold_is_named_with_what_to_write(annotation: Any, says: str) -> None:
    assert says in said_of(annotation)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="from Python 3.12 on pydantic reads the one of typing, too")
def test_a_typed_dict_of_an_old_typing_is_refused_in_our_words() -> None:
    assert "from typing_extensions import TypedDict" in said_of(Sizes)


@pytest.mark.parametrize("annotation", [str, list[int], Optional[list[int]], int | list[int], bool, Any])  # noqa: UP045
def test_a_bound_of_limits_that_does_not_fit_its_type_is_said_to_be_from_there(annotation: Any) -> None:
    said = said_of(annotation, maximum=5)
    assert said.startswith("the bound that limits() gives predict's argument 'sizes' does not fit: ")


def test_a_class_of_a_function_is_not_found_and_the_message_says_so() -> None:
    assert "or made inside a function" in said_of("Local")


@pytest.mark.parametrize(
    ("default", "seen"),
    [
        (np.float64(0.5), {"type": "number", "default": 0.5}),
        (np.int64(3), {"type": "integer", "default": 3}),
        (np.bool_(True), {"type": "boolean", "default": True}),
        ({2, 1}, {"type": "array", "default": [1, 2], "items": {"type": "integer"}}),
        (frozenset({"a"}), {"type": "array", "default": ["a"], "items": {"type": "string"}}),
    ],
)
def test_a_default_says_what_an_untyped_argument_takes(default: Any, seen: dict[str, Any]) -> None:
    def predict(output_path: str, size=default) -> None: ...  # type: ignore[no-untyped-def]

    schema = request_schema(arguments_model(predict))["properties"]["size"]
    assert {key: schema[key] for key in seen} == seen


@pytest.mark.parametrize("annotation", [int, "int", int | None, bytes, None, 5, [str], list[str], Plain])
def test_an_output_path_of_another_type_is_refused(annotation: Any) -> None:
    def predict(output_path: Any) -> None: ...

    predict.__annotations__["output_path"] = annotation
    with pytest.raises(SetupFailed, match=r"argument 'output_path' must be str or pathlib\.Path, not "):
        arguments_model(predict)


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        *((each, str) for each in (str, "str", Any, object, str | Path, Annotated[str, "where"], "Unknown")),
        *((each, Path) for each in (Path, "Path", Path | None, PurePath, os.PathLike, os.PathLike[str])),
        (NewType("Where", str), str),
    ],
)
def test_an_output_path_is_text_or_a_path(annotation: Any, kind: type) -> None:
    def predict(output_path: Any) -> None: ...

    predict.__annotations__["output_path"] = annotation
    arguments_model(predict)
    assert output_path_type(predict) is kind


def test_a_decorator_that_hides_the_arguments_is_named() -> None:
    def predict(*args: Any, **kwargs: Any) -> None: ...

    with pytest.raises(SetupFailed, match=r"\(\*args.*, \*\*kwargs.*where a decorator hides them, .* functools.wraps"):
        arguments_model(predict)
