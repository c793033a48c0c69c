"""Reads the annotations of predict where its class lives: in its module's names, then in the class's own.

Only those of its arguments are read: what `return` says is not used, so it may name what does not exist at run time.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import typing
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


def function_of(method: Any) -> Any:
    """The function that was written, under bound methods, partials and `functools.wraps`."""
    found: Any = method
    while True:
        if isinstance(found, functools.partial | functools.partialmethod):
            found = found.func
        elif inspect.ismethod(found):
            found = found.__func__
        elif hasattr(found, "__wrapped__"):
            found = found.__wrapped__
        else:
            return found


def resolved(name: str, annotation: Any, method: Callable[..., Any], owner: type | None) -> Any:
    """An annotation of `method` with every name in it looked up; raises what the lookup raises (NameError, mostly).

    owner: the class whose own names may be used, too.
    """
    function = function_of(method)
    if not hasattr(function, "__globals__"):  # an object that can be called
        function = type(function).__call__
    globals_: dict[str, Any] = getattr(function, "__globals__", {})
    own = {key: value for kind in reversed(owner.__mro__) for key, value in vars(kind).items()} if owner else {}
    known = {key: value for key, value in own.items() if not hasattr(builtins, key)} | globals_
    if isinstance(annotation, str):  # what typing would refuse is returned, too: the caller says what is wrong with it
        annotation = eval(annotation, dict(known))
    holder = SimpleNamespace(__annotations__={name: annotation})
    hints: dict[str, Any] = typing.get_type_hints(holder, known, known, include_extras=True)
    return hints[name]
