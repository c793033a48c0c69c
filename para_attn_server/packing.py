"""A predictor given in Python, as bytes that only ranks open (cloudpickle).

A class of a script travels by value, without the names of its module: so its annotations are resolved here, where they
were written (core/hints.py), as are those of the dataclasses and TypedDicts that they name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import itertools
import pickle
import typing
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import cloudpickle
from typing_extensions import is_typeddict

from para_attn_server.core.errors import UsageError
from para_attn_server.core.hints import function_of, resolved


def packed(predictor: Any, name: str) -> bytes:
    """The class or instance, pickled; raises UsageError naming what cannot be. name: of the predictor, in words."""
    try:
        return _dumps(predictor)
    except Exception as error:
        for attribute, value in getattr(predictor, "__dict__", {}).items():
            if not _can_be_pickled(value):
                raise UsageError(
                    f"the predictor {name} cannot be sent to the ranks: its attribute {attribute!r} "
                    f"({type(value).__name__}) cannot be pickled; make it in setup() instead"
                ) from error
        raise UsageError(f"the predictor {name} cannot be sent to the ranks: {error}") from error


class _Pickler(cloudpickle.Pickler):
    """cloudpickle's, but the marks of the module dataclasses stay what they are: they are compared by identity."""

    def reducer_override(self, obj: Any) -> Any:
        if obj is dataclasses.MISSING or obj is dataclasses.KW_ONLY:
            return "MISSING" if obj is dataclasses.MISSING else "KW_ONLY"
        return super().reducer_override(obj)


def _dumps(value: Any) -> bytes:
    with io.BytesIO() as file, _annotations_resolved(value):
        _Pickler(file).dump(value)
        return file.getvalue()


def _can_be_pickled(value: Any) -> bool:
    try:
        cloudpickle.dumps(value)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError, NotImplementedError, RuntimeError, OSError):
        return False
    return True


@contextlib.contextmanager
def _annotations_resolved(predictor: Any) -> Iterator[None]:
    """With annotations as objects, and as they were again afterwards. What cannot be resolved stays text."""
    owner = predictor if isinstance(predictor, type) else type(predictor)
    with contextlib.ExitStack() as undo:
        seen: set[type] = set()
        for kind, name in itertools.product(owner.__mro__, ("predict", "__init__")):
            function = function_of(vars(kind).get(name))
            if inspect.isfunction(function):
                _resolve(function, kind, undo, seen)
        yield


def _resolve(function: FunctionType, owner: type, undo: contextlib.ExitStack, seen: set[type]) -> None:
    annotations = function.__annotations__
    undo.callback(annotations.update, dict(annotations))
    for name, annotation in list(annotations.items()):
        with contextlib.suppress(Exception):  # the rank that needs it says which name is not known
            annotations[name] = resolved(name, annotation, function, owner)
            _resolve_inside(annotations[name], undo, seen)


def _resolve_inside(annotation: Any, undo: contextlib.ExitStack, seen: set[type]) -> None:
    for inner in typing.get_args(annotation):
        _resolve_inside(inner, undo, seen)
    if not isinstance(annotation, type) or annotation in seen:
        return
    seen.add(annotation)
    fields: dict[str, Any] = vars(annotation).get("__dataclass_fields__", {})
    if not fields and not is_typeddict(annotation):
        return
    hints = typing.get_type_hints(annotation, include_extras=True)
    own = annotation.__annotations__
    undo.callback(own.update, dict(own))
    own.update({name: hints[name] for name in own})
    for name, field in fields.items():
        undo.callback(setattr, field, "type", field.type)
        field.type = hints.get(name, field.type)
    for hint in hints.values():
        _resolve_inside(hint, undo, seen)
