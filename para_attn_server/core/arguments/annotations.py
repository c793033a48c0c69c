"""What is written where a type must be, but is none (`[int]`, `any`, `5`): says what was meant.

And the names of types, for messages. What a type means for a request is judged.py's matter.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic.fields import FieldInfo

from para_attn_server.core.arguments.judged import ANY_TYPE

_LONGEST = 80
_WITHOUT_TYPES = (Literal, collections.abc.Callable)
"""Their arguments are values, or are refused with them."""


_INCOMPLETE = (Literal, typing.Union, typing.Optional, typing.Final, typing.ClassVar, typing.Self)
"""What typing has for other places, or for use with brackets only."""


def fault(annotation: Any) -> str | None:
    """Names the first part of an annotation that is not a type, and what to write instead; None where all are."""
    if not _is_type(annotation):
        return f"has {spelled(annotation)} where a type must be: {_instead(annotation)}"
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) in _WITHOUT_TYPES:
        parts = ()
    elif typing.get_origin(annotation) is Annotated:
        parts = parts[:1]
    elif isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        parts = tuple(field.type for field in dataclasses.fields(annotation) if not isinstance(field.type, str))
    return next((found for part in parts if (found := fault(part)) is not None), None)


def options(annotation: Any) -> Iterator[Any]:
    """The annotation itself, or each type that it is a choice of, without what describes them."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        yield from options(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for option in typing.get_args(annotation):
            yield from options(option)
    elif isinstance(annotation, typing.NewType):
        yield from options(annotation.__supertype__)
    else:
        yield origin or annotation


def spelled(annotation: Any) -> str:
    """The annotation as it may have been written."""
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        own = annotation.__module__ in ("builtins", "__main__")
        return annotation.__qualname__ if own else f"{annotation.__module__}.{annotation.__qualname__}"
    if inspect.isroutine(annotation):
        return f"the function {annotation.__name__}"
    if inspect.ismodule(annotation):
        return f"the module {annotation.__name__}"
    if type(annotation) is dict:
        return f"{{{', '.join(f'{spelled(key)}: {spelled(value)}' for key, value in annotation.items())}}}"
    for kind, ends in ((list, "[]"), (tuple, "()"), (set, "{}")):
        if type(annotation) is kind and annotation:
            return ends[0] + ", ".join(_each(annotation)) + ends[1]
    return repr(annotation)[:_LONGEST]


def _is_type(part: Any) -> bool:
    if any(part is form for form in _INCOMPLETE) or typing.get_origin(part) in (typing.Final, typing.ClassVar):
        return False
    return (
        part is None
        or part is ...
        or isinstance(part, type)
        or typing.get_origin(part) is not None
        or type(part).__module__ in ("typing", "typing_extensions")
        or hasattr(part, "__get_pydantic_core_schema__")
    )


def _each(values: Any) -> list[str]:
    words = map(spelled, values)
    return sorted(words) if isinstance(values, set | frozenset) else list(words)


def _instead(part: Any) -> str:
    if isinstance(part, FieldInfo):
        return "write Annotated[int, Field(...)], with the argument's own type"
    if part is any:
        return "write typing.Any"
    if inspect.ismodule(part):
        return "write the class in it, as in datetime.date"
    if isinstance(part, dict):
        words = "dict[str, int], say"
        if len(part) == 1 and all(_is_type(each) for pair in part.items() for each in pair):
            words = "dict[{}, {}]".format(*(spelled(each) for pair in part.items() for each in pair))
        return f"write {words}"
    if isinstance(part, list | tuple | set | frozenset):
        return f"write {_collection(part)}"
    if isinstance(part, str | int | float | bytes):
        return f"write {type(part).__name__}, with the value as the argument's default"
    return ANY_TYPE


def _collection(values: Any) -> str:
    kind, words = type(values).__name__, _each(values)
    if values and all(isinstance(each, str | int) for each in values):
        return f"Literal[{', '.join(words)}]"
    if not values or not all(_is_type(each) and each is not ... for each in values):
        return f"{kind}[int], say"
    if kind == "tuple":
        return f"{' | '.join(words)} for one of them, or tuple[{', '.join(words)}] for all"
    return f"{kind}[{' | '.join(words)}]"
