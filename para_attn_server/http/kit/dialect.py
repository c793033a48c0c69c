"""What a dialect is to the server: its routes, the shape of its errors, and which paths are its own.

How to write one: CONTRIBUTING.md. Dialects are listed in `http/dialects.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from werkzeug.wrappers import Response

from para_attn_server.http.kit.problems import Problem, ProblemType
from para_attn_server.http.kit.routes import Route

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Headers = list[tuple[str, str]]
Schema = dict[str, Any]


class Short(NamedTuple):
    """A response that is whole: its status, its headers without Content-Length, its body."""

    status: int
    headers: Headers
    body: bytes


Shortcut = Callable[["WSGIEnvironment"], Short | None]
"""A response at once, or None where the request is Flask's, as every one is that fails."""


def _as_it_is(reference: Schema, _kinds: Sequence[ProblemType]) -> Schema:
    return reference


@dataclass(frozen=True, slots=True)
class ErrorShape:
    """How a dialect reports errors. render: makes the response. media_type and body: of it, as OpenAPI describes them.

    narrowed: what the document says of the errors of one status, from a reference to `body`.
    """

    render: Callable[[Problem, WSGIEnvironment], Response]
    media_type: str
    body: type
    narrowed: Callable[[Schema, Sequence[ProblemType]], Schema] = _as_it_is


@dataclass(frozen=True, slots=True)
class Dialect:
    """One dress of the service. prefixes: the paths below which every error has its shape, also where no route is.

    shortcut: may respond to requests that come again and again, below Flask.
    """

    name: str
    routes: list[Route]
    errors: ErrorShape
    prefixes: tuple[str, ...]
    shortcut: Shortcut | None = None


class Dialects:
    """The dialects of an app. The first one has whatever no other has claimed."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        self._dialects = list(dialects)
        self._by_prefix = sorted(
            ((f"{prefix.rstrip('/')}/", each) for each in dialects for prefix in each.prefixes),
            key=lambda pair: -len(pair[0]),
        )
        self._shortcuts = [each.shortcut for each in dialects if each.shortcut is not None]

    def __iter__(self) -> Iterator[Dialect]:
        return iter(self._dialects)

    @property
    def first(self) -> Dialect:
        """The one that is meant where nothing says which."""
        return self._dialects[0]

    def of(self, path: str) -> Dialect:
        """The one to which a path belongs: the one with the longest prefix of it."""
        fitting = (each for prefix, each in self._by_prefix if f"{path}/".startswith(prefix))
        return next(fitting, self.first)

    def render(self, problem: Problem, environ: WSGIEnvironment) -> Response:
        """An error as the dialect of that request reports it."""
        return self.of(environ.get("PATH_INFO", "")).errors.render(problem, environ)

    def short(self, environ: WSGIEnvironment) -> Short | None:
        """A response at once, where a dialect has one."""
        for shortcut in self._shortcuts:
            if (short := shortcut(environ)) is not None:
                return short
        return None
