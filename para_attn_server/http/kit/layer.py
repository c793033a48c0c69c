"""One WSGI layer below every dialect: what each request must pass, and what each response carries.

The name of the request, hosts and origins, headers for browsers. Flask is above it. A dialect may respond to a request
that comes again and again from here (`Shortcut`): Flask costs ten times as much as such a response.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from para_attn_server.http.kit import request_log
from para_attn_server.http.kit.dialect import Dialects, Headers
from para_attn_server.http.kit.files import NO_FRAMES
from para_attn_server.http.kit.origins import Origins
from para_attn_server.http.kit.problems import Problem

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_CACHE, _POLICY = "Cache-Control", "Content-Security-Policy"
_ALWAYS: Headers = [(_CACHE, "no-store"), ("X-Content-Type-Options", "nosniff")]


class Kit:
    """The layer. app: Flask. access_log: one line for each request."""

    def __init__(self, app: WSGIApplication, origins: Origins, dialects: Dialects, access_log: bool) -> None:
        self._app, self._origins, self._dialects, self._access_log = app, origins, dialects, access_log

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        name = request_log.begin(environ)
        environ.pop(
            "HTTP_UPGRADE", None
        )  # werkzeug would look for a route for WebSockets; it may be ignored (RFC 9110)
        added = [*_ALWAYS, (request_log.REQUEST_ID, name), *self._origins.headers(environ)]

        def start(status: str, headers: Headers, exc_info: Any = None) -> Any:
            kept = [header for header in headers if header[0] != _CACHE]
            if all(header[0] != _POLICY for header in kept):
                kept.append((_POLICY, NO_FRAMES))
            return start_response(status, kept + added, exc_info)

        refusal = self._origins.check(environ)
        if refusal is None and (short := self._dialects.short(environ)) is not None:
            self._log(environ, short.status)
            length = ("Content-Length", str(len(short.body)))
            start_response(_line(short.status), [*short.headers, length, (_POLICY, NO_FRAMES), *added])
            return [short.body]
        if refusal is None:
            return self._app(environ, start)
        response = self._dialects.render(refusal, environ) if isinstance(refusal, Problem) else refusal
        self._log(environ, response.status_code)
        return response(environ, start)

    def _log(self, environ: WSGIEnvironment, status: int) -> None:
        if self._access_log:
            request_log.log_request(environ, status)


def _line(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"
