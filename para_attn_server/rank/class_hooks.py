"""Replaces one method of classes for a while, and leaves them as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

_ADDED = object()


class ClassHooks:
    """Wraps the method named `method` of classes, once per class, until `undo`.

    wrap: makes the replacement of a function. Only plain functions are replaced. One that somebody has put over the
    replacement meanwhile stays, and with it the replacement below: `wrap` is to make one that can stay.
    """

    def __init__(self, method: str, wrap: Callable[[Any], Any]) -> None:
        self._method, self._wrap = method, wrap
        self._replaced: dict[type, tuple[Any, Any]] = {}  # the replacement and what was there
        self._watched: dict[type, Any] = {}

    def add(self, cls: type, inherited: bool = False) -> None:
        """Wrap what the class itself defines; with `inherited` also what it inherits, for that class alone."""
        here = vars(cls).get(self._method, _ADDED)
        original = getattr(cls, self._method, None) if here is _ADDED and inherited else here
        if cls not in self._replaced and isinstance(original, FunctionType):
            replacement = self._wrap(original)
            setattr(cls, self._method, replacement)
            self._replaced[cls] = replacement, here

    def add_tree(self, base: type) -> None:
        """Wrap what `base` and its subclasses define, those included that are defined later."""
        if base in self._watched:
            return
        for cls in set(_tree(base)):
            self.add(cls)
        before = self._watched[base] = vars(base).get("__init_subclass__", _ADDED)

        def __init_subclass__(cls: type, **kwargs: Any) -> None:
            if before is _ADDED:
                super(base, cls).__init_subclass__(**kwargs)  # type: ignore[arg-type]
            else:
                before.__get__(None, cls)(**kwargs)
            self.add(cls)

        base.__init_subclass__ = classmethod(__init_subclass__)  # type: ignore[assignment]

    def undo(self) -> None:
        """Put back what was there."""
        for cls, (replacement, before) in self._replaced.items():
            if vars(cls).get(self._method) is replacement:
                _put(cls, self._method, before)
        for base, before in self._watched.items():
            _put(base, "__init_subclass__", before)
        self._replaced.clear()
        self._watched.clear()


def _put(cls: type, name: str, before: Any) -> None:
    if before is _ADDED:
        delattr(cls, name)
    else:
        setattr(cls, name, before)


def _tree(base: type) -> Iterator[type]:
    yield base
    subclasses: list[type] = base.__subclasses__()
    for subclass in subclasses:
        yield from _tree(subclass)
