"""Holds back what a group reports until the group is out of its own transition, then passes it on in order.

A listener acts on a report at once, on the same group too (the next job for a group that has become free). Called from
inside a transition it would meet a group that is neither in its old state nor in its new one.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
Method = TypeVar("Method", bound=Callable[..., Any])


class Outbox:
    """The reports of one group. `with` it: a transition, which may be within another."""

    def __init__(self) -> None:
        self._held: deque[Callable[[], None]] = deque()
        self._depth = 0
        self._delivering = False

    @property
    def in_transition(self) -> bool:
        """Whether the group is between two states."""
        return self._depth > 0

    def post(self, call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call this once the transition is over."""
        self._held.append(functools.partial(call, *args, **kwargs))

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth or self._delivering:
            return  # what is being delivered has led to another transition: its reports follow
        self._delivering = True
        try:
            while self._held:
                self._held.popleft()()
        finally:
            self._delivering = False


def transition(method: Method) -> Method:
    """A method of what has an `outbox`, in which the state may change: what it reports goes out when it returns."""

    @functools.wraps(method)
    def within(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.outbox:
            return method(self, *args, **kwargs)

    return cast(Method, within)
