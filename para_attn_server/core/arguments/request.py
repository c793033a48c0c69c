"""Checks a request body against the schema that the ranks reported, fills in defaults, draws a seed.

At least as strict as the check that the ranks repeat with pydantic (model.py), so that what is accepted here is not
refused there; ranks hold the one against the other at setup. It does not look at files: where an output may go is
outputs/folder.py's business.
"""

from __future__ import annotations

import copy
import difflib
import json
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

from para_attn_server.core.arguments import SEED
from para_attn_server.core.arguments.formats import format_checker, multiple_of, pattern
from para_attn_server.core.arguments.rules import KEYWORD, Rules
from para_attn_server.core.arguments.seeds import DRAW_ONE, Seeds
from para_attn_server.core.arguments.wording import described, shown
from para_attn_server.core.errors import FieldError, InvalidInput

MAX_DEPTH = 32
"""Deepest nesting of arrays and objects in a request."""

MAX_VALUES = 20_000
"""Most values, keys among them, in a request: a check takes 30 us for each, and holds up the web worker."""

TOO_MUCH = FieldError("#", f"the request holds more than {MAX_VALUES} values")

MAX_PROBLEMS = 50
"""Most wrong arguments that one answer names."""


def _is_integer(_checker: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _unique_items(validator: Any, wanted: bool, instance: Any, _schema: Mapping[str, Any]) -> Iterator[ValidationError]:
    """The keyword `uniqueItems`; jsonschema's own compares each item with each other one where they cannot be sorted.

    As text, since a client could choose numbers to which Python gives one hash.
    """
    if wanted and validator.is_type(instance, "array"):
        different = {json.dumps(_canonical(item), sort_keys=True) for item in instance}
        if len(different) < len(instance):
            yield ValidationError("the items are not unique")


def _canonical(value: Any) -> Any:
    """The same value for all that JSON Schema takes for equal, such as 1 and 1.0 (but not true)."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    return value


def _as_in_ranks(keyword: str) -> Any:
    """That bound's keyword, for a float on the float that a rank makes of an integer."""
    judge: Any = Draft202012Validator.VALIDATORS[keyword]

    def bound(validator: Any, limit: Any, instance: Any, schema: Mapping[str, Any]) -> Any:
        if schema.get("type") == "number" and validator.is_type(instance, "number"):
            limit, instance = float(limit), float(instance)
        return judge(validator, limit, instance, schema)

    return bound


_extend: Any = validators.extend  # its types are known only where types-jsonschema is installed
_Strict: Any = _extend(
    Draft202012Validator,
    {
        **{name: _as_in_ranks(name) for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")},
        "multipleOf": multiple_of,
        "pattern": pattern,
        "uniqueItems": _unique_items,
    },
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


class RequestValidator:
    """The compiled check of one request schema. Thread-safe."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._definitions: dict[str, Any] = dict(schema.get("$defs", {}))
        self._check = _Strict(schema, format_checker=format_checker())
        self._properties: dict[str, Any] = dict(schema.get("properties", {}))
        self._defaults = {n: p["default"] for n, p in self._properties.items() if "default" in p}
        seed = self._properties.get(SEED)
        self._seeds = None if seed is None else Seeds(seed, self._definitions)
        self._rules = Rules(schema.get(KEYWORD, {}), self._properties)
        self._draws_one = seed is not None and self._check.evolve(schema=seed).is_valid(DRAW_ONE)

    def validate(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body with defaults and a seed filled in; raises InvalidInput naming each wrong argument.

        An integer `seed` that is left out, null or (where its bounds allow that) -1 is drawn at random, whatever the
        predictor's own default.
        """
        arguments = dict(body)
        if self._seeds is not None and self._seeds.asked_for(arguments.get(SEED), self._draws_one):
            arguments[SEED] = self._seeds.draw()
        self.check(arguments)
        for name, default in self._defaults.items():
            if name not in arguments:
                arguments[name] = copy.deepcopy(default)
        self._rules.check(arguments)
        return arguments

    def check(self, arguments: dict[str, Any]) -> None:
        """Raises InvalidInput naming each wrong argument; fills in nothing."""
        unfit = map(self._guided, islice(_unfit_values(arguments), MAX_PROBLEMS))
        problems = list(unfit) or self._problems(arguments)
        if problems:
            raise InvalidInput(problems)

    def _guided(self, problem: FieldError) -> FieldError:
        """The problem, with what the argument must be where it is one of the model's."""
        schema = self._properties.get(problem.pointer.removeprefix("#/"))
        if schema is None:
            return problem
        return FieldError(problem.pointer, f"{problem.detail}; it must be {described(schema, self._definitions)}")

    def _problems(self, arguments: dict[str, Any]) -> list[FieldError]:
        found: dict[str, FieldError] = {}
        for error in self._check.iter_errors(arguments):
            for problem in _explained(error, self._definitions):
                found.setdefault(problem.pointer, problem)
                if len(found) == MAX_PROBLEMS:
                    return list(found.values())
        return sorted(found.values(), key=lambda problem: problem.pointer)


def _unfit_values(arguments: Mapping[str, Any]) -> Iterator[FieldError]:
    """What no schema allows: values that JSON has no word for, text that is no Unicode, endless nesting or length."""
    stack: list[tuple[Any, str, int]] = [(arguments, "#", 0)]
    for _ in range(MAX_VALUES):
        if not stack:
            return
        value, pointer, depth = stack.pop()
        said = f"is nested deeper than {MAX_DEPTH} levels" if depth > MAX_DEPTH else _unfit(value)
        if said is not None:
            yield FieldError(pointer, said)
        elif isinstance(value, dict):
            stack.extend((key, _join(pointer, key), depth + 1) for key in value)
            stack.extend((item, _join(pointer, key), depth + 1) for key, item in value.items())
        elif isinstance(value, list):
            stack.extend((item, _join(pointer, index), depth + 1) for index, item in enumerate(value[:MAX_VALUES]))
    yield TOO_MUCH


def _unfit(value: Any) -> str | None:
    if isinstance(value, str) and not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        return "must be valid Unicode text without lone surrogates"
    if isinstance(value, float) and not math.isfinite(value):
        return "must not be NaN or infinite"
    if isinstance(value, int) and value.bit_length() > 1000:
        return "must be a number below 10**300 in size"
    return None


def _explained(error: ValidationError, definitions: Mapping[str, Any]) -> Iterator[FieldError]:
    """One or more field errors in plain words for one of jsonschema's."""
    pointer = "#"
    for part in error.absolute_path:
        pointer = _join(pointer, part)
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    instance: Any = error.instance
    value: Any = error.validator_value
    known = list(schema.get("properties", {}))
    if error.validator == "additionalProperties":
        for name in instance:
            if name not in known:
                yield FieldError(_join(pointer, name), _unknown(name, known))
    elif error.validator == "required":
        for name in value:
            if name not in instance:
                wanted = described(schema.get("properties", {}).get(name, {}), definitions)
                yield FieldError(_join(pointer, name), f"is missing; it must be {wanted}")
    elif error.parent is not None and error.parent.validator == "propertyNames":
        yield FieldError(pointer, f"has a name that must be {described(schema, definitions)}, not {shown(instance)}")
    elif error.validator == "anyOf" and (nested := _in_only_option(error)):
        for inner in nested:
            yield from _explained(inner, definitions)
    else:
        yield FieldError(pointer, f"must be {described(schema, definitions)}, not {shown(instance)}")


def _in_only_option(error: ValidationError) -> list[ValidationError]:
    """The errors inside the only option that an object or array could have meant, for `anyOf` of one type and null."""
    value: Any = error.validator_value
    options = [o for o, option in enumerate(value) if option.get("type") != "null"]
    deeper = [inner for inner in error.context or () if inner.relative_schema_path[0] in options]
    return deeper if len(options) == 1 and any(len(inner.relative_path) for inner in deeper) else []


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name[:100], known, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"is an unknown argument; {hint}known: {', '.join(known)}"


def _join(pointer: str, part: str | int) -> str:
    """A JSON pointer one level deeper (RFC 6901: `~` and `/` escaped)."""
    text = str(part)[:100].encode(errors="replace").decode().replace("~", "~0").replace("/", "~1")
    return f"{pointer}/{text}"
