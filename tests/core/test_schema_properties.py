"""Any signature: what the web accepts the ranks accept, what is right both accept, and a refusal names the field."""

from __future__ import annotations

import inspect
import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from enum import Enum, IntEnum, StrEnum
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal, NotRequired
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import UUID4, AnyUrl, BaseModel, Field, HttpUrl, StringConstraints
from typing_extensions import TypedDict

from para_attn_server.core.arguments import OUTPUT_PATH
from para_attn_server.core.arguments.model import arguments_model, dumped, parsed, validated
from para_attn_server.core.arguments.request import RequestValidator
from para_attn_server.core.arguments.schema import request_schema
from para_attn_server.core.errors import InvalidInput


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel, extra="forbid"):
    """A nested argument."""

    x: Annotated[int, Field(ge=0, le=9)]
    colour: Colour = Colour.RED


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Half(Enum):
    HALF = 0.5
    WHOLE = 1.0


class Cat(BaseModel):
    """One of a discriminated union; its tag has a default, which a request must give all the same."""

    kind: Literal["cat"] = "cat"
    lives: Annotated[int, Field(ge=1, le=9)] = 9


class Dog(BaseModel):
    """The other one."""

    kind: Literal["dog"]
    good: bool = True


class Tree(BaseModel):
    """A nested argument that holds itself."""

    leaf: int = 0
    parts: list[Tree] = []


class Box(TypedDict):
    """A nested argument without a class of its own."""

    side: Annotated[float, Field(gt=0)]
    name: NotRequired[str]


@dataclass
class Frame:
    """A nested argument of the standard library's kind."""

    width: Annotated[int, Field(ge=1)]
    names: list[str] = field(default_factory=list)


@dataclass
class Kind:
    """A type of argument: its annotation, right values of it in JSON, and wrong ones that only it can say are wrong."""

    annotation: Any
    right: st.SearchStrategy[Any]
    wrong: list[Any] = field(default_factory=list)


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
SHORT = Annotated[str, Field(min_length=1, max_length=3)]
DIGITS = r"^[0-9]{1,3}$"
KINDS = {
    "whole": Kind(int, st.integers(-(10**200), 10**200), [1.0, True, "1", 1e3]),
    "bounded": Kind(Annotated[int, Field(ge=-3, lt=64)], st.integers(-3, 63), [-4, 64, 3.0, 10**300]),
    "multiple": Kind(Annotated[int, Field(multiple_of=16)], st.integers(-9, 9).map(lambda n: n * 16), [8, -1]),
    "number": Kind(float, st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9), [True, "1.5"]),
    "positive": Kind(Annotated[float, Field(gt=0, le=1e3)], st.floats(1e-300, 1e3), [0, -0.0, 1000.0001]),
    "halves": Kind(Annotated[float, Field(multiple_of=0.5)], st.integers(-99, 99).map(lambda n: n / 2), [0.3, 1.75]),
    "flag": Kind(bool, st.booleans(), [0, 1, "true"]),
    "text": Kind(str, TEXT, [1, ["a"]]),
    "short": Kind(
        Annotated[str, Field(min_length=1, max_length=3)], st.text("aé😀", min_size=1, max_size=3), ["", "abcd"]
    ),
    "digits": Kind(Annotated[str, Field(pattern=DIGITS)], st.integers(0, 999).map(str), ["1\n", "", "1234", "a"]),
    "choice": Kind(Literal["a", "b", 3], st.sampled_from(["a", "b", 3]), ["c", 4.0, True]),
    "colour": Kind(Colour, st.sampled_from(["red", "blue"]), ["RED", "green"]),
    "inner": Kind(Inner, st.fixed_dictionaries({"x": st.integers(0, 9)}), [{"x": 10}, {"x": 1, "z": 1}, {}]),
    "list": Kind(Annotated[list[int], Field(max_length=2)], st.lists(st.integers(), max_size=2), [[1, 2, 3], ["1"]]),
    "map": Kind(dict[str, float], st.dictionaries(TEXT, st.floats(-1, 1), max_size=2), [{"a": "b"}, []]),
    "moment": Kind(datetime, st.datetimes().map(datetime.isoformat), ["x", "2030-13-01T00:00:00"]),
    "day": Kind(date, st.dates().map(date.isoformat), ["x", "2030-13-01"]),
    "hour": Kind(time, st.times().map(time.isoformat), ["x", "25:00"]),
    "span": Kind(timedelta, st.sampled_from(["P1D", "PT5S", "P3DT12H"]), ["x"]),
    "id": Kind(UUID, st.uuids().map(str), ["x", "1-2"]),
    "url": Kind(AnyUrl, st.sampled_from(["http://a/b", "ftp://x.y"]), ["x", "http:"]),
    "anything": Kind(Any, TEXT | st.integers() | st.lists(TEXT, max_size=2)),
    "tenths": Kind(Annotated[float, Field(multiple_of=0.1)], st.integers(-99, 99).map(lambda n: n / 10), [0.35, "0.3"]),
    "beyond": Kind(Annotated[float, Field(gt=2**53)], st.integers(2**53 + 2, 2**60), [2**53 + 1, 2**53]),
    "stripped": Kind(
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=2)],
        st.sampled_from(["ab", " ab ", "a b"]),
        ["a", " a ", " ", " \u2003a", ""],
    ),
    "data": Kind(bytes, st.binary(max_size=9).map(lambda raw: b64encode(raw).decode()), ["a", "*", "aGVsbG8*", 1]),
    "level": Kind(Level, st.sampled_from([1, 2]), [3, "1", True]),
    "half": Kind(Half, st.sampled_from([0.5, 1.0, 1]), ["0.5", 2, False]),
    "number_of": Kind(Literal[512, 1024], st.sampled_from([512, 1024]), ["512", 513, None]),
    "set": Kind(
        Annotated[set[int], Field(min_length=1)], st.sets(st.integers(), min_size=1, max_size=3).map(list), [[]]
    ),
    "colours": Kind(frozenset[Colour], st.sampled_from([[], ["red"], ["red", "blue"]]), [["RED"], "red"]),
    "pair": Kind(tuple[int, str], st.tuples(st.integers(), TEXT).map(list), [[1], [1, "a", 2], ["a", 1]]),
    "row": Kind(tuple[int, ...], st.lists(st.integers(), max_size=2), [["1"], 1]),
    "sequence": Kind(Sequence[int], st.lists(st.integers(), max_size=2), [["1"], "12"]),
    "numbered": Kind(
        dict[int, int],
        st.dictionaries(st.integers().map(str), st.integers(), max_size=2),
        [{"x": 1}, {"01": 1}, {"": 1}],
    ),
    "keyed": Kind(
        dict[Annotated[str, Field(max_length=2, pattern="^[a-z]*$")], int],
        st.dictionaries(st.text("abc", max_size=2), st.integers(), max_size=2),
        [{"abc": 1}, {"A": 1}, {"a\n": 1}],
    ),
    "by_colour": Kind(dict[Colour, int], st.sampled_from([{}, {"red": 1}]), [{"RED": 1}, {"red": "1"}]),
    "pet": Kind(
        Annotated[Cat | Dog, Field(discriminator="kind")],
        st.sampled_from([{"kind": "cat"}, {"kind": "dog", "good": False}, {"kind": "cat", "lives": 1}]),
        [{}, {"lives": 3}, {"kind": "cow"}, {"kind": "cat", "lives": 10}],
    ),
    "tree": Kind(
        Tree, st.sampled_from([{}, {"parts": [{"leaf": 1}, {"parts": []}]}]), [{"parts": [{"leaf": "1"}]}, {"parts": 1}]
    ),
    "box": Kind(
        Box, st.sampled_from([{"side": 1}, {"side": 0.5, "name": "a"}]), [{}, {"side": 0}, {"side": 1, "x": 1}]
    ),
    "frame": Kind(
        Frame, st.sampled_from([{"width": 1}, {"width": 2, "names": ["a"]}]), [{}, {"width": 0}, {"name": 1}]
    ),
    "either": Kind(
        Annotated[int, Field(ge=1)] | Annotated[str, Field(max_length=2)] | list[str],
        st.sampled_from([1, "ab", ["abc"], []]),
        [0, "abc", [1], 1.5],
    ),
    "page": Kind(HttpUrl, st.sampled_from(["http://a/b", "HTTPS://x.y"]), ["ftp://x.y", " http://a", "x"]),
    "id4": Kind(UUID4, st.uuids(version=4).map(str), ["00000000-0000-1000-8000-000000000000", "x"]),
    "address": Kind(IPv4Address, st.ip_addresses(v=4).map(str), ["1.2.3", "::1"]),
}
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
PATIENT = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass
class Signature:
    """A predictor's signature as both sides see it. kinds: by argument; required: the arguments without a default."""

    kinds: dict[str, Kind]
    required: set[str]
    model: type[BaseModel]
    validator: RequestValidator


def signature(names: list[str], optional: set[str], defaults: dict[str, Any]) -> Signature:
    """optional: arguments that may be null; defaults: by argument."""
    parameters = [inspect.Parameter(OUTPUT_PATH, inspect.Parameter.KEYWORD_ONLY, annotation=str)]
    for name in names:
        annotation = KINDS[name].annotation | None if name in optional else KINDS[name].annotation
        default = defaults.get(name, inspect.Parameter.empty)
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        )

    def predict(**_: Any) -> None: ...

    vars(predict)["__signature__"] = inspect.Signature(parameters)
    predict.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    model = arguments_model(predict)
    kinds = {name: KINDS[name] for name in names}
    return Signature(kinds, set(names) - set(defaults), model, RequestValidator(request_schema(model)))


@st.composite
def signatures(draw: st.DrawFn) -> Signature:
    names = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=5, unique=True))
    optional = draw(st.sets(st.sampled_from(names))) - {"anything", "pet"}
    with_default = draw(st.sets(st.sampled_from(names)))
    defaults = {name: None if name in optional else PLAIN_DEFAULTS[name] for name in with_default & set(PLAIN_DEFAULTS)}
    return signature(names, optional, defaults)


PLAIN_DEFAULTS: dict[str, Any] = {
    **{"whole": 7, "bounded": 63, "multiple": -32, "number": 2.5, "positive": 1.0, "flag": True, "text": "é"},
    **{"short": "abc", "digits": "12", "choice": 3, "colour": Colour.BLUE, "inner": Inner(x=3), "list": [1]},
    **{"map": {"a": 0.5}, "moment": datetime(2030, 1, 31, 12), "anything": None},
}


def refusal(made: Signature, body: dict[str, Any]) -> dict[str, str] | None:
    """What the web says of each wrong argument; None when it accepts, in which case the ranks do too."""
    try:
        arguments = made.validator.validate(body)
    except InvalidInput as error:
        return {problem.pointer: problem.detail for problem in error.fields}
    queued = json.loads(json.dumps(arguments))  # as it comes out of the queue
    accepted = validated(made.model, queued)
    assert set(accepted) == set(made.kinds)
    compared, by_input = dumped(parsed(made.model, queued), {})
    assert not by_input
    again = {field.removesuffix("_"): value for field, value in compared.items()}
    assert validated(made.model, again) == accepted, "what ranks compare means what predict gets"
    return None


@PATIENT
@given(st.data())
def test_what_is_right_is_accepted_on_both_sides_and_defaults_are_filled_in(data: st.DataObject) -> None:
    made = data.draw(signatures())
    body = {name: data.draw(kind.right, name) for name, kind in made.kinds.items() if name in made.required}
    assert refusal(made, body) is None
    arguments = made.validator.validate(body)
    assert set(arguments) == set(made.kinds)
    assert {name: arguments[name] for name in body} == body


@PATIENT
@given(st.data())
def test_what_the_web_accepts_the_ranks_accept_and_a_refusal_names_a_field(data: st.DataObject) -> None:
    made = data.draw(signatures())
    names = st.sampled_from([*made.kinds, "unknown"])
    wrong = [value for kind in made.kinds.values() for value in kind.wrong]
    body = data.draw(st.dictionaries(names, JUNK | st.sampled_from(wrong or [None]), max_size=4))
    said = refusal(made, body)
    if said is not None:
        assert {pointer.split("/")[1] for pointer in said} <= set(body) | made.required
        assert all(said.values())


@pytest.mark.parametrize("name", [name for name in KINDS if KINDS[name].wrong])
def test_each_wrong_value_is_refused_by_its_name(name: str) -> None:
    made = signature([name], set(), {})
    for value in KINDS[name].wrong:
        said = refusal(made, {name: value})
        assert said is not None and {pointer.split("/")[1] for pointer in said} == {name}, value
