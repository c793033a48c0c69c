"""Signatures as people write them: what works as it is meant, and what is refused at setup, with argument and rule."""

from __future__ import annotations

import enum
import fractions
import json
import math
import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, List, Literal, NamedTuple, Optional, Union  # noqa: UP035

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FileUrl,
    Json,
    PastDate,
    SecretStr,
    StringConstraints,
)

from para_attn_server.core.arguments.model import arguments_model, compared_by_input, digest, dumped, parsed, validated
from para_attn_server.core.arguments.request import RequestValidator
from para_attn_server.core.arguments.schema import request_schema as schema_of
from para_attn_server.core.errors import InvalidInput, SetupFailed

if TYPE_CHECKING:
    from nowhere import Picture

Steps = Annotated[int, Field(ge=1, le=50)]


class Colour(enum.StrEnum):
    RED = "red"


class Pair(NamedTuple):
    """Which JSON could say as an array or as an object."""

    first: int


class Named(BaseModel, populate_by_name=True):
    """Its field has two names."""

    size: int = Field(alias="s", default=1)


class Chosen(BaseModel):
    """Its field may come under two names."""

    size: int = Field(validation_alias=AliasChoices("a", "b"), default=1)


class Short(BaseModel, str_min_length=3):
    """A rule that pydantic keeps in the config."""

    text: str


class Drawn(BaseModel):
    """A nested default that differs by rank."""

    noise: int = Field(default_factory=lambda: 4)


class Raw(BaseModel):
    """Bytes that would be taken from the letters themselves."""

    data: bytes


class Engine(BaseModel, regex_engine="python-re"):
    """A pattern that takes Python's engine for ever on 40 characters."""

    text: Annotated[str, Field(pattern=r"^(?=a)(\w+\s?)+$", max_length=60)]


class Odd(enum.Enum):
    """With a value that JSON does not have."""

    ONE = 1.0
    NONE = math.nan


@dataclass
class Computed:
    """A field that no request can fill."""

    area: int = field(init=False, default=1)


def of(annotation: Any, default: Any = ..., name: str = "x", **limits: Any) -> type[BaseModel]:
    """The model of a predict with that one argument."""
    names: dict[str, Any] = {"annotation": annotation, "default": default}
    given = "" if default is ... else " = default"
    exec(f"def predict(output_path: str, *, {name}: annotation{given}): ...", names)
    model: type[BaseModel] = arguments_model(names["predict"], {name: limits} if limits else {})
    return model


def judge(model: type[BaseModel], **body: Any) -> dict[str, Any]:
    """What predict gets of a request, through both checks."""
    return validated(model, RequestValidator(schema_of(model)).validate(body))


# --- refused at setup ---

REFUSED: list[tuple[Any, str]] = [
    (Image.Image, r"PIL.Image.Image is not representable in JSON: write ImageInput"),
    (list[Image.Image], "PIL.Image.Image is not representable"),
    (Path, "write str, or bytes for a file's content .*output_path is the only path"),
    (list[Path] | None, "output_path is the only path"),
    (torch.Tensor, r"write list\[float\]"),
    (np.ndarray, r"write list\[float\]"),
    (torch.Generator, "write seed: int"),
    (Decimal, "write float"),
    (fractions.Fraction, "write float"),
    (complex, r"write tuple\[float, float\]"),
    (bytearray, "write bytes"),
    (Callable[[], int], "not representable in JSON"),
    (type[int], "not representable in JSON"),
    (Iterable[int], "not representable in JSON"),
    (re.Pattern, "write str"),
    (SecretStr, "write str"),
    (FileUrl, "output_path is the only path"),
    (Base64Bytes, "write str"),
    (IPv4Network, "write str"),
    (Json[int], "not representable in JSON"),
    (AwareDatetime, "tz_constraint of a datetime cannot be expressed"),
    (PastDate, "now_op of a date cannot be expressed"),
    (Annotated[date, Field(ge=date(2020, 1, 1))], "ge of a date cannot be expressed"),
    (Annotated[bytes, Field(max_length=9)], "max_length of a bytes cannot be expressed"),
    (Annotated[int, Field(multiple_of=0.5)], "must be coercible to an integer"),
    (Pair, "not representable in JSON; write str, int, float"),
    (Annotated[int | str, Field(ge=1)], "in a union, write the bound at the option"),
    (Annotated[list[int], Field(le=1)], "a bound cannot be applied to its type"),
    (Annotated[str, StringConstraints(strip_whitespace=True, pattern="^a$")], "a pattern and strip_whitespace"),
    (set[Any], "the items of a set"),
    (set[list[int]], "the items of a set"),
    (Annotated[set[datetime], Field(min_length=2)], "min_length of a set"),
    (dict[float, int], "the keys of a dict must be str, int without bounds"),
    (dict[Annotated[int, Field(ge=1)], int], "the keys of a dict"),
    (dict[Literal[1], int], "the keys of a dict"),
    (Literal[b"x"], "the values of a Literal or Enum"),
    (Odd, "the values of an Enum must be finite"),
    (Named, "in the field 'size' of Named: its value must have one name"),
    (Chosen, "in the field 'size' of Chosen: its value must have one name"),
    (Short, "Short has str_min_length in its config"),
    (Engine, "a pattern of Python's re may take hours on a short text: write it as a str"),
    (Annotated[str, Field(pattern=re.compile("^a$"))], "a pattern of Python's re may take hours"),
    (Drawn, "in the field 'noise' of Drawn: a default_factory makes another value on every rank"),
    (Raw, "bytes arrive as base64: set val_json_bytes='base64' in the config of Raw"),
    (Computed, "in the field 'area' of Computed: a field that __init__ does not take"),
    (Annotated[int, Field(default_factory=lambda: 3)], "a default_factory .* name the argument `seed`"),
    (Annotated[int, Field(alias="size")], "has an alias: requests use its own name"),
    ("Picture", "annotation of predict's argument 'x' cannot be read: name 'Picture'.*TYPE_CHECKING"),
    ("List[", "annotation of predict's argument 'x' cannot be read"),
]


@pytest.mark.parametrize(("annotation", "says"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_type_that_web_and_ranks_would_judge_differently_is_refused(annotation: Any, says: str) -> None:
    with pytest.raises(SetupFailed, match=says) as refused:
        of(annotation)
    assert "'x'" in str(refused.value)


def of_known(style: str) -> str:
    return {"oil": style}[style]


@pytest.mark.parametrize(
    ("annotation", "default", "limits", "says"),
    [
        (int, 1024, {"maximum": 512}, "limits.. included.*: must be an integer, at most 512, not 1024"),
        (int, 100, {"multipleOf": 16}, "must be an integer, a multiple of 16, not 100"),
        (Annotated[int, Field(ge=1)], 0, {}, "must be an integer, at least 1, not 0"),
        (float, math.inf, {}, "must not be NaN or infinite"),
        (list[float], [1.0, math.nan], {}, "must not be NaN or infinite"),
        (float | None, math.inf, {}, "must not be NaN or infinite"),
        (int, 1.0, {}, "must be an integer, not 1.0"),
        (int, True, {}, "must be an integer, not true"),
        (str, 3, {}, "must be a string, not 3"),
        (Literal["a", "b"], "c", {}, 'must be one of "a", "b", not "c"'),
        (Any, object(), {}, "object is not representable in JSON"),
        (Annotated[str, AfterValidator(of_known)], "ink", {}, "KeyError: 'ink'"),
        (Annotated[str, Field(pattern="^[a-z]$")], "A", {}, "matching"),
        (Annotated[int, Field(ge=9)], 9, {"maximum": 3}, "must be an integer from 9 to 3, not 9"),
    ],
)
def test_a_default_that_no_request_could_hold_is_refused(annotation: Any, default: Any, limits: Any, says: str) -> None:
    with pytest.raises(SetupFailed, match=f"default of predict's argument 'x' is refused.*{says}"):
        of(annotation, default, **limits)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ([("x", 1)], "must return a dict of dicts"),
        ({"x": 3}, "must return a dict of dicts"),
        ({"x": {"minimum": "1"}}, r"limits\(\)\['x'\]\['minimum'\] must be a finite number, not '1'"),
        ({"x": {"minimum": math.inf}}, "must be a finite number"),
        ({"x": {"multipleOf": True}}, "must be a finite number"),
    ],
)
def test_limits_of_another_kind_are_refused(limits: Any, says: str) -> None:
    def predict(output_path: str, x: int = 1) -> None: ...

    with pytest.raises(SetupFailed, match=says):
        arguments_model(predict, limits)


# --- meant as the field writes it ---


@pytest.mark.parametrize(
    "annotation",
    [str, Union[str, List[str]], Annotated[str, Field(min_length=1)], int, Literal["a"], Colour, Optional[str], bytes],  # noqa: UP006, UP007, UP045
)
def test_a_default_of_none_lets_null_in(annotation: Any) -> None:
    model = of(annotation, None)
    assert judge(model) == judge(model, x=None) == {"x": None}
    with pytest.raises(InvalidInput):
        judge(model, x={"no": "such"})


def test_what_describes_an_argument_stays_with_it_when_it_becomes_optional() -> None:
    schema = schema_of(of(Annotated[str, Field(min_length=2, description="What to avoid.")], None))["properties"]["x"]
    assert schema["description"] == "What to avoid."
    assert [option.get("minLength") for option in schema["anyOf"]] == [2, None]


def test_a_default_may_be_written_as_a_field() -> None:
    model = of(int, Field(20, ge=1, le=50))
    assert judge(model) == {"x": 20}
    with pytest.raises(SetupFailed, match="must be an integer from 1 to 50, not 60"):
        of(int, Field(60, ge=1, le=50))


DEFAULTS = {bytes: b"\xff\xfe", Colour: Colour.RED, set[int]: {3, 1}, tuple[int, int]: (1, 2), date: date(2030, 1, 2)}


@pytest.mark.parametrize("annotation", DEFAULTS)
def test_a_default_is_what_predict_gets(annotation: Any) -> None:
    assert judge(of(annotation, DEFAULTS[annotation])) == {"x": DEFAULTS[annotation]}


@pytest.mark.parametrize("factory", [list, dict, set])
def test_a_factory_of_an_empty_container_is_a_static_default(factory: Any) -> None:
    model = of(Annotated[factory[str, int] if factory is dict else factory[str], Field(default_factory=factory)])
    assert judge(model) == {"x": factory()}
    assert "default" in schema_of(model)["properties"]["x"]


def test_bytes_arrive_decoded_from_base64() -> None:
    raw = bytes(range(256))
    model = of(bytes)
    assert judge(model, x=b64encode(raw).decode()) == {"x": raw}
    with pytest.raises(InvalidInput, match="in the format base64"):
        judge(model, x="not base64!")
    assert dumped(parsed(model, {"x": "_-8="}), {})[0] == dumped(parsed(model, {"x": "/+8"}), {})[0], "the same bytes"


@pytest.mark.parametrize(
    "name", ["schema", "copy", "json", "dict", "model_config", "model_fields", "model_path", "construct", "validate"]
)
def test_names_that_pydantic_keeps_for_itself_are_arguments_like_any_other(name: str) -> None:
    model = of(Steps, 4, name, minimum=2)
    assert judge(model) == {name: 4} and judge(model, **{name: 7}) == {name: 7}
    with pytest.raises(InvalidInput) as refused:
        validated(model, {name: 1})
    assert [problem.pointer for problem in refused.value.fields] == [f"#/{name}"]
    assert schema_of(model)["properties"][name]["title"] == name.title().replace("_", " ")


@pytest.mark.parametrize("bound", [np.int64(16), torch.tensor(16), 16, 16.0])
def test_limits_may_be_numbers_of_any_library(bound: Any) -> None:
    assert schema_of(of(int, 512, multipleOf=bound))["properties"]["x"]["multipleOf"] == 16


@pytest.mark.parametrize(
    ("own", "limit", "least", "most"),
    [
        (Annotated[int, Field(ge=10, le=20)], {"minimum": 5, "maximum": 30}, 10, 20),
        (Annotated[int, Field(ge=10, le=20)], {"minimum": 12, "maximum": 18}, 12, 18),
        (Annotated[int, Field(ge=10, le=20)] | None, {"minimum": 12, "maximum": 30}, 12, 20),
        (Annotated[Annotated[int, Field(ge=10, le=20)] | None, Field(description="d")], {"maximum": 30}, 10, 20),
        (Annotated[int | None, Field(ge=10, le=20)], {"maximum": 15}, 10, 15),
        (Annotated[int, Field(ge=10, le=20), AfterValidator(abs)], {"maximum": 15}, 10, 15),
    ],
)
def test_of_two_bounds_of_a_kind_the_tighter_holds(own: Any, limit: Any, least: int, most: int) -> None:
    model = of(own, **limit)
    assert [n for n in range(40) if _fits(model, n)] == [*range(least, most + 1)]


def _fits(model: type[BaseModel], value: int) -> bool:
    try:
        judge(model, x=value)
    except InvalidInput:
        return False
    return True


@pytest.mark.parametrize(
    ("annotation", "default", "seen"),
    [
        (Annotated[int, Field(ge=np.int64(3))], np.int64(4), {"minimum": 3, "default": 4}),
        (float, np.float32(0.5), {"default": 0.5}),
        (bool, np.bool_(True), {"default": True}),
    ],
)
def test_numbers_of_other_libraries_are_plain_in_the_schema(annotation: Any, default: Any, seen: Any) -> None:
    schema = json.loads(json.dumps(schema_of(of(annotation, default))))["properties"]["x"]
    assert {key: schema[key] for key in seen} == seen


def test_multiples_of_both_hold() -> None:
    assert schema_of(of(Annotated[int, Field(multiple_of=6)], multipleOf=4))["properties"]["x"]["multipleOf"] == 12


class Local:
    """Annotations as text, with names of the class, and of the return value that do not exist."""

    Side = Annotated[int, Field(ge=64)]

    def predict(self, output_path: str, width: Side = 64, steps: Steps = 4) -> Picture: ...


class Inherited(Local):
    """Its predict was written elsewhere."""


@pytest.mark.parametrize("kind", [Local, Inherited])
def test_annotations_are_read_where_the_class_lives(kind: type[Local]) -> None:
    properties = schema_of(arguments_model(kind().predict))["properties"]
    assert properties["width"]["minimum"] == 64 and properties["steps"]["maximum"] == 50


# --- the seed ---


class Take(enum.IntEnum):
    ONE = 1
    TWO = 2


Alias = Annotated[int, Field(ge=3, le=4)]


@pytest.mark.parametrize(
    ("annotation", "default", "drawn"),
    [
        (Literal[11, 12], 11, {11, 12}),
        (Literal[-1, 11], -1, {11}),
        (Take, Take.ONE, {1, 2}),
        (Take | None, None, {1, 2}),
        (Alias, 3, {3, 4}),
        (Annotated[int, Field(ge=-1, le=1)], -1, {0, 1}),
        (Annotated[int, Field(ge=0, le=1)], None, {0, 1}),
        (Literal["random", 5], "random", {5}),
    ],
)
def test_a_seed_is_drawn_from_what_it_allows(annotation: Any, default: Any, drawn: set[int]) -> None:
    validator = RequestValidator(schema_of(of(annotation, default, "seed")))
    assert {validator.validate({})["seed"] for _ in range(60)} == drawn
    assert {validator.validate({"seed": None})["seed"] for _ in range(60)} == drawn


def test_a_seed_of_minus_one_asks_for_a_drawn_one_where_its_bounds_let_it_in() -> None:
    for annotation in (int, Annotated[int, Field(ge=-1)], Annotated[int, Field(ge=-1, le=2**32 - 1)], int | None):
        validator = RequestValidator(schema_of(of(annotation, -1, "seed")))
        seeds = {validator.validate({"seed": -1})["seed"] for _ in range(20)}
        assert len(seeds) == 20 and all(0 <= seed < 2**33 for seed in seeds)
    bounded = RequestValidator(schema_of(of(Annotated[int, Field(ge=0)], name="seed")))
    with pytest.raises(InvalidInput, match="must be an integer, at least 0"):
        bounded.validate({"seed": -1})


def test_a_seed_without_annotation_is_drawn() -> None:
    def predict(output_path, seed=None): ...  # type: ignore[no-untyped-def]

    validator = RequestValidator(schema_of(arguments_model(predict)))
    assert len({validator.validate({})["seed"] for _ in range(9)}) == 9


def test_a_seed_that_allows_no_integer_is_refused() -> None:
    with pytest.raises(SetupFailed, match="'seed' allows no integer"):
        of(Annotated[int, Field(ge=5, le=9)], name="seed", multipleOf=16)


# --- what ranks compare ---


def test_arguments_are_compared_as_predict_gets_them() -> None:
    drawn = iter(range(9))
    model = of(Annotated[int, AfterValidator(lambda _: next(drawn))])
    first, second = (digest(dumped(parsed(model, {"x": 1}), {"x": 1})[0], "/o") for _ in range(2))
    assert first != second, "two ranks that drew their own"


def test_what_cannot_be_dumped_is_compared_as_it_came() -> None:
    model = of(Annotated[Any, AfterValidator(lambda value: torch.Generator().manual_seed(value))], 3)
    assert compared_by_input(model) == ["x"]
    dump, as_they_came = dumped(parsed(model, {"x": 5}), {"x": 5})
    assert (list(dump.values()), as_they_came) == ([5], ["x"])
    assert compared_by_input(of(int, 3)) == []


def test_an_argument_that_is_left_out_of_dumps_is_compared_as_it_came() -> None:
    assert dumped(parsed(of(Annotated[int, Field(exclude=True)]), {"x": 5}), {"x": 5})[1] == ["x"]


def test_a_validator_of_ones_own_stays_with_the_ranks() -> None:
    def even(value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value

    model = of(Annotated[int, BeforeValidator(lambda value: value), AfterValidator(even)], 2)
    assert RequestValidator(schema_of(model)).validate({"x": 3}) == {"x": 3}
    with pytest.raises(InvalidInput, match="must be even"):
        validated(model, {"x": 3})


def test_bytes_of_a_nested_model_may_be_base64_too() -> None:
    class Upload(BaseModel):
        model_config = ConfigDict(val_json_bytes="base64", ser_json_bytes="base64")
        data: bytes

    assert judge(of(Upload), x={"data": "aGVsbG8="})["x"].data == b"hello"
