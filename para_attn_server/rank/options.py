"""From the texts and values of `--set` to the arguments of a predictor's constructor, by its signature."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Mapping
from typing import Any, get_args

import torch
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from para_attn_server.core.arguments.annotations import spelled
from para_attn_server.core.errors import UsageError
from para_attn_server.core.hints import resolved

_BY_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def constructor_options(found: Any) -> dict[str, inspect.Parameter]:
    """What a class's constructor takes by name."""
    return {name: one for name, one in inspect.signature(found).parameters.items() if one.kind in _BY_KEYWORD}


def described_options(found: Any) -> list[dict[str, Any]]:
    """What --set takes for a class: of each the name, its type as text, and its default as text, None where it needs
    one. model_path is not among them: it has an option of its own."""
    return [
        {
            "name": name,
            "type": _type_text(found, name, one),
            "default": None if one.default is one.empty else str(one.default),
        }
        for name, one in constructor_options(found).items()
        if name != "model_path"
    ]


def _type_text(found: Any, name: str, parameter: inspect.Parameter) -> str:
    try:
        return spelled(_annotation(found, name, parameter)).replace("typing.", "")
    except UsageError:  # it will say so where it is given
        return str(parameter.annotation)


def constructed(found: Any, given: Mapping[str, Any]) -> Any:
    """An instance of the class. given: by name, text is read as what the annotation says.

    Raises UsageError for names that the constructor does not take, values that are not of their types, and arguments
    that are missing.
    """
    known = constructor_options(found)
    takes_any = any(one.kind is one.VAR_KEYWORD for one in inspect.signature(found).parameters.values())
    for name in given:
        if name not in known and not takes_any:
            raise UsageError(f"--set: {_unknown(found.__name__, name, list(known))}")
    needed = [name for name, one in known.items() if one.default is one.empty and name not in given]
    if needed:
        raise UsageError(f"{found.__name__} needs {', '.join(needed)}: give --set {needed[0]}=VALUE")
    return found(**{name: _value(found, name, known.get(name), value) for name, value in given.items()})


def _unknown(kind: str, name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{kind} takes no argument named {name}; {hint}it takes {', '.join(known) or 'none'}"


def _value(found: Any, name: str, parameter: inspect.Parameter | None, given: Any) -> Any:
    annotation = Any if parameter is None else _annotation(found, name, parameter)
    kinds = (annotation, *get_args(annotation))
    if torch.dtype in kinds and isinstance(given, str) and isinstance(getattr(torch, given, None), torch.dtype):
        return getattr(torch, given)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    except PydanticUserError:
        raise UsageError(
            f"--set {name}: its type in {found.__name__}.__init__ cannot be written as text; annotate it as str, int, "
            "float, bool, a Literal, an Enum, a list or a dict"
        ) from None
    if isinstance(given, str):
        return _read(adapter, annotation, name, given)
    try:
        return adapter.validate_python(given)
    except ValidationError as error:
        raise _wrong(name, given, error) from None


def _read(adapter: TypeAdapter[Any], annotation: Any, name: str, text: str) -> Any:
    """As on the command line of a request: text where that is allowed, else what it reads as in JSON, else the text."""
    may_be_null = type(None) in get_args(annotation) and text == "null"
    if annotation is not Any and not may_be_null:
        try:
            return adapter.validate_python(text, strict=True)
        except ValidationError:
            pass
    try:
        return adapter.validate_python(json.loads(text))
    except ValueError:  # no JSON, or not of the type
        pass
    try:
        return adapter.validate_python(text)
    except ValidationError as error:
        raise _wrong(name, text, error) from None


def _wrong(name: str, given: Any, error: ValidationError) -> UsageError:
    said = "; ".join(dict.fromkeys(each["msg"] for each in error.errors()))
    return UsageError(f"--set {name}: {said}, not {given!r}")


def _annotation(found: Any, name: str, parameter: inspect.Parameter) -> Any:
    if parameter.annotation is parameter.empty:
        default = parameter.default
        return Any if default is parameter.empty or default is None else type(default)
    try:
        return resolved(name, parameter.annotation, found.__init__, found)
    except Exception as error:
        raise UsageError(f"--set {name}: its annotation cannot be read: {error}") from error
