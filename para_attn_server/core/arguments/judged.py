"""Which types of arguments the web and the ranks judge alike: what JSON Schema can say of pydantic's core schemas.

Everything else is Unfit, so that no request is accepted by the web and then refused by every rank. A validator written
in Python is left to the ranks: it is passed over here, and what is under it is looked at.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Any

Schema = Mapping[str, Any]

ANY_TYPE = "write str, int, float, bool, bytes, list, dict, a Literal, an Enum or a pydantic model of such fields"
ARGUMENTS = "Arguments"
"""Name of the model of all arguments, whose fields the messages of Unfit do not name."""
STATIC_FACTORIES: frozenset[Any] = frozenset({list, dict, set, frozenset, tuple})
"""Default factories that make the same value on every rank."""

_COMMON = frozenset({"type", "ref", "metadata", "serialization", "strict"})
_NUMBER = frozenset({"multiple_of", "ge", "gt", "le", "lt"})
_TEXT = frozenset({"min_length", "max_length", "pattern", "strip_whitespace", "to_lower", "to_upper", "regex_engine"})
_LENGTHS = frozenset({"min_length", "max_length", "fail_fast"})
LEAVES: dict[str, frozenset[str]] = {
    "any": frozenset(),
    "none": frozenset(),
    "bool": frozenset(),
    "int": _NUMBER,
    "float": _NUMBER | {"allow_inf_nan"},
    "str": _TEXT | {"coerce_numbers_to_str"},
    "bytes": frozenset(),
    "date": frozenset(),
    "time": frozenset({"microseconds_precision"}),
    "datetime": frozenset({"microseconds_precision"}),
    "timedelta": frozenset({"microseconds_precision"}),
    "uuid": frozenset({"version"}),
    "url": frozenset({"max_length", "allowed_schemes"}),
    "literal": frozenset({"expected"}),
    "enum": frozenset({"cls", "members", "sub_type", "missing"}),
}
_HASHABLE = LEAVES.keys() - {"any"}
_TEXT_RULES = ("str_min_length", "str_max_length", "str_strip_whitespace")
PATHS = (
    "a request may not name files of the server's machine: write str, or bytes for a file's content (sent as base64); "
    "output_path is the only path"
)


class Unfit(Exception):
    """This type cannot be judged alike by web and ranks; the text says why, and what to write instead."""


def check_judged_alike(schema: Any) -> None:
    """Raises Unfit unless every rule in this core schema can be said in the JSON Schema of a request."""
    _Judge().judge(schema, {})


class _Judge:
    """Walks what a rank uses of a core schema in strict JSON mode. config: of the model around a schema."""

    def __init__(self) -> None:
        self._defined: dict[str, Schema] = {}

    def judge(self, schema: Schema, config: Schema) -> None:
        kind = schema["type"]
        if kind in LEAVES:
            _judge_keys(schema, LEAVES[kind])
            if judge_leaf := _LEAF_RULES.get(kind):
                judge_leaf(schema, config)
            return
        walk: Callable[[Schema, Schema], None] | None = getattr(self, "_" + kind.replace("-", "_"), None)
        if walk is None:
            raise Unfit(f"its type is not representable in JSON; {ANY_TYPE}")
        walk(schema, config)

    def _inner(self, schema: Schema, config: Schema) -> None:
        self.judge(schema["schema"], config)

    _nullable = _inner

    def _definitions(self, schema: Schema, config: Schema) -> None:
        self._defined |= {one["ref"]: one for one in schema["definitions"]}
        for one in schema["definitions"]:
            self.judge(one, {})
        self.judge(schema["schema"], config)

    def _definition_ref(self, schema: Schema, config: Schema) -> None:
        """Looked at where it is defined."""

    def _default(self, schema: Schema, config: Schema) -> None:
        if schema.get("default_factory") not in {None, *STATIC_FACTORIES}:
            raise Unfit(
                "a default_factory makes another value on every rank: write the default itself; for a random number "
                "name the argument `seed`, which the server draws once for all ranks"
            )
        self.judge(schema["schema"], config)

    def _function(self, schema: Schema, config: Schema) -> None:
        function = schema["function"]["function"]
        while isinstance(function, functools.partial):
            function = function.func
        module = getattr(function, "__module__", None) or ""
        if module == "pydantic" or module.startswith("pydantic."):
            if schema.get("schema", {}).get("type") != "url":
                raise Unfit(_said_of(getattr(function, "__name__", "")))
        elif module == "ipaddress" and function not in (IPv4Address, IPv6Address):
            raise Unfit("its type is not representable in JSON Schema: write str")
        if "schema" in schema:
            self.judge(schema["schema"], config)

    _function_before = _function_after = _function_wrap = _function_plain = _function

    def _lax_or_strict(self, schema: Schema, config: Schema) -> None:
        self.judge(schema["strict_schema"], config)

    def _json_or_python(self, schema: Schema, config: Schema) -> None:
        self.judge(schema["json_schema"], config)

    def _list(self, schema: Schema, config: Schema) -> None:
        _judge_keys(schema, _LENGTHS | {"items_schema"})
        if "items_schema" in schema:
            self.judge(schema["items_schema"], config)

    def _set(self, schema: Schema, config: Schema) -> None:
        self._list(schema, config)
        items = schema.get("items_schema", {"type": "any"})
        if not self._hashable(items):
            raise Unfit(
                "the items of a set must be numbers, texts, or other single values: write set[int], say, or a list"
            )
        if schema.get("min_length", 0) > 1 and any(kind["type"] not in ("int", "str") for kind in self._kinds(items)):
            raise Unfit("min_length of a set is the same to web and ranks for items of int and str only: write a list")

    _frozenset = _set

    def _tuple(self, schema: Schema, config: Schema) -> None:
        _judge_keys(schema, _LENGTHS | {"items_schema", "variadic_item_index"})
        items = schema["items_schema"]
        if schema.get("variadic_item_index", len(items) - 1) != len(items) - 1:
            raise Unfit("only the last item of a tuple may stand for any number: write a list")
        for item in items:
            self.judge(item, config)

    def _dict(self, schema: Schema, config: Schema) -> None:
        _judge_keys(schema, _LENGTHS | {"keys_schema", "values_schema"})
        keys = schema.get("keys_schema", {"type": "any"})
        self.judge(keys, config)
        for kind in self._kinds(keys):
            named = kind["type"] in ("literal", "enum") and all(isinstance(value, str) for value in _values_of(kind))
            bare_int = kind["type"] == "int" and not _NUMBER & {k for k, v in kind.items() if v is not None}
            if not (named or bare_int or kind["type"] in ("str", "any")):
                raise Unfit("the keys of a dict must be str, int without bounds, or a Literal or Enum of texts")
        if "values_schema" in schema:
            self.judge(schema["values_schema"], config)

    def _union(self, schema: Schema, config: Schema) -> None:
        for choice in schema["choices"]:
            self.judge(choice[0] if isinstance(choice, tuple) else choice, config)

    def _tagged_union(self, schema: Schema, config: Schema) -> None:
        if not isinstance(schema["discriminator"], str):
            raise Unfit("the discriminator of a union must be the name of a field")
        for choice in schema["choices"].values():
            self.judge(choice, config)

    # --- what has fields ---

    def _model(self, schema: Schema, _config: Schema) -> None:
        config = schema.get("config") or {}
        if found := [rule for rule in _TEXT_RULES if config.get(rule)]:
            raise Unfit(f"{_name(schema)} has {found[0]} in its config: write the rule on the field, with Field(...)")
        self.judge(schema["schema"], {**config, "model": _name(schema)})

    _dataclass = _model

    def _typed_dict(self, schema: Schema, config: Schema) -> None:
        self._fields(schema, {**(schema.get("config") or config), "model": _name(schema)}, schema["fields"])

    def _model_fields(self, schema: Schema, config: Schema) -> None:
        self._fields(schema, config, schema["fields"])

    def _dataclass_args(self, schema: Schema, config: Schema) -> None:
        self._fields(schema, config, {field["name"]: field for field in schema["fields"]})

    def _fields(self, schema: Schema, config: Schema, fields: Mapping[str, Schema]) -> None:
        if schema.get("extras_schema") or schema.get("extras_keys_schema"):
            raise Unfit(f"{config['model']} has a type for additional fields: write a dict for them")
        by_name = config.get("validate_by_name") or config.get("populate_by_name")
        for name, field in fields.items():
            try:
                self._field(field, config, bool(by_name) or config.get("validate_by_alias") is False)
            except Unfit as unfit:
                where = "" if config["model"] == ARGUMENTS else f"in the field {name!r} of {config['model']}: "
                raise Unfit(f"{where}{unfit}") from None

    def _field(self, field: Schema, config: Schema, by_name: bool) -> None:
        alias = field.get("validation_alias")
        if alias is not None and (not isinstance(alias, str) or by_name):
            raise Unfit("its value must have one name in a request: give it a single alias, or none")
        if field.get("init") is False:
            raise Unfit("a field that __init__ does not take cannot come from a request")
        self.judge(field["schema"], config)

    # --- what is under unions, defaults and references ---

    def _kinds(self, schema: Schema) -> Iterator[Schema]:
        kind = schema["type"]
        if kind == "definition-ref":
            yield from self._kinds(self._defined[schema["schema_ref"]])
        elif kind == "union":
            for choice in schema["choices"]:
                yield from self._kinds(choice[0] if isinstance(choice, tuple) else choice)
        elif kind in ("nullable", "default", "function-after", "function-before", "function-wrap"):
            yield from self._kinds(schema["schema"])
        else:
            yield schema

    def _hashable(self, schema: Schema) -> bool:
        for kind in self._kinds(schema):
            items = kind.get("items_schema", ()) if kind["type"] == "tuple" else [kind.get("items_schema")]
            if kind["type"] in ("tuple", "frozenset"):
                if not all(item is not None and self._hashable(item) for item in items):
                    return False
            elif kind["type"] not in _HASHABLE | {"lax-or-strict"}:
                return False
        return True


def _judge_keys(schema: Schema, known: frozenset[str]) -> None:
    further = {key for key, value in schema.items() if value not in (None, False)} - known - _COMMON
    if further:
        rules = ", ".join(sorted(further))
        raise Unfit(f"{rules} of a {schema['type']} cannot be expressed in JSON Schema: check it in predict")


def _judge_text(schema: Schema, config: Schema) -> None:
    pattern = schema.get("pattern")
    if pattern is not None and schema.get("strip_whitespace"):
        raise Unfit("a pattern and strip_whitespace do not go together: let the pattern allow the space around it")
    engines = (config.get("regex_engine"), schema.get("regex_engine"))
    if isinstance(pattern, re.Pattern) or (pattern is not None and "python-re" in engines):
        raise Unfit(
            "a pattern of Python's re may take hours on a short text: write it as a str for the default engine, "
            "or check it in predict"
        )


def _judge_bytes(_schema: Schema, config: Schema) -> None:
    if config.get("val_json_bytes") != "base64":
        raise Unfit(f"bytes arrive as base64: set val_json_bytes='base64' in the config of {config['model']}")


def _judge_url(schema: Schema, _config: Schema) -> None:
    if "file" in (schema.get("allowed_schemes") or ()):
        raise Unfit(PATHS)


def _judge_precision(schema: Schema, _config: Schema) -> None:
    if schema.get("microseconds_precision", "truncate") != "truncate":
        raise Unfit("microseconds_precision cannot be expressed in JSON Schema: leave it out")


def _judge_values(schema: Schema, _config: Schema) -> None:
    if any(not isinstance(value, str | int | float | None) for value in _values_of(schema)):
        raise Unfit("the values of a Literal or Enum must be texts, numbers, true, false or null")
    if any(isinstance(value, float) and not math.isfinite(value) for value in _values_of(schema)):
        raise Unfit("the values of an Enum must be finite: NaN and Infinity are not JSON")


def _values_of(schema: Schema) -> list[Any]:
    values = schema["expected"] if schema["type"] == "literal" else schema["members"]
    return [value.value if isinstance(value, Enum) else value for value in values]


_LEAF_RULES: dict[str, Callable[[Schema, Schema], None]] = {
    "str": _judge_text,
    "bytes": _judge_bytes,
    "url": _judge_url,
    "time": _judge_precision,
    "datetime": _judge_precision,
    "timedelta": _judge_precision,
    "literal": _judge_values,
    "enum": _judge_values,
}


def _said_of(function: str) -> str:
    """Why one of pydantic's own validators is no match for JSON Schema."""
    if function == "path_validator" or function.startswith(("validate_file", "validate_directory", "validate_new")):
        return PATHS
    if function.endswith(("_than_validator", "_than_or_equal_validator", "multiple_of_validator", "_length_validator")):
        return (
            "a bound cannot be applied to its type: numbers have minimum, maximum and multipleOf, texts and lists have "
            "lengths; in a union, write the bound at the option that it is for"
        )
    return "its type is not representable in JSON Schema: write str, and check it in predict, before a step"


def _name(schema: Schema) -> str:
    return str(getattr(schema.get("cls"), "__name__", "a model"))
