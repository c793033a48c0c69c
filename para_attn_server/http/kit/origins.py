"""Which hosts are served, and what web pages of other origins may do.

A browser on this machine reaches a server on loopback, and every page that it shows can make it send requests. Such a
page is recognized by headers that it cannot set. This is not authentication: other programs send what they like.
"""

from __future__ import annotations

import re
import socket
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING

from flask import Response

from para_attn_server.core.settings import Settings, listed
from para_attn_server.http.kit.problems import Problem, http_problem

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::\d*)?", re.IGNORECASE)
"""A `Host` header: a name or an address, and a port."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_MAY_ASK = {
    "Access-Control-Allow-Methods": "DELETE, GET, HEAD, POST",
    "Access-Control-Allow-Headers": "Content-Type, Idempotency-Key, If-Match, If-None-Match, Job-Deadline, "
    "Job-Metadata, Job-Priority, Job-TTL, Job-Target, Prefer, Range, X-Request-Id",
    "Access-Control-Max-Age": "600",
}
_MAY_READ = (
    "Accept-Ranges, Content-Disposition, Content-Location, Content-Range, ETag, Location, Retry-After, X-Job-Status, "
    "X-Log-Next, X-Request-Id"
)


class Origins:
    """The rules of --host, --allowed-host and --cors-origin."""

    def __init__(self, settings: Settings) -> None:
        self._hosts = frozenset(listed(settings.allowed_host))
        self._origins = frozenset(listed(settings.cors_origin))
        self._same_origin = [("Cross-Origin-Resource-Policy", "same-origin")]
        self._every_host = not self._hosts and not is_loopback(settings.host)
        self._known = lru_cache(256)(self._is_served)

    def check(self, environ: WSGIEnvironment) -> Problem | Response | None:
        """A refusal, or the answer to a browser that asks whether a page may ask; None for any other request."""
        host = environ.get("werkzeug.proxy_fix.orig", environ).get("HTTP_HOST")  # never a forwarded one
        if host is None:
            return None if environ.get("SERVER_PROTOCOL") == "HTTP/1.0" else _no_host("has no Host header")
        if not HOST.fullmatch(host):
            return _no_host("has a Host header that is not one host with its port")
        if not self._known(host):
            detail = f"The host {host} is not served here; to serve it, add it to --allowed-host."
            return Problem(http_problem(421), detail)
        origin = environ.get("HTTP_ORIGIN")
        method = environ["REQUEST_METHOD"]
        if method in _SAFE:
            asks = method == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
            return Response(status=204, headers=_MAY_ASK) if asks and origin in self._origins else None
        return None if origin in self._origins else self._foreign(environ, host, origin)

    def headers(self, environ: WSGIEnvironment) -> list[tuple[str, str]]:
        """What lets the browser show a response to a page of an origin that is allowed.

        A page that embeds an output, as `<img>` does, is not named in the request: Cross-Origin-Resource-Policy is one
        for all.
        """
        if not self._origins:
            return self._same_origin
        headers = [("Cross-Origin-Resource-Policy", "cross-origin"), ("Vary", "Origin")]
        if (origin := environ.get("HTTP_ORIGIN")) in self._origins:
            headers += [("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", _MAY_READ)]
        return headers

    def _foreign(self, environ: WSGIEnvironment, host: str, origin: str | None) -> Problem | None:
        """A refusal for what a browser sends on behalf of a page of another origin."""
        site = environ.get("HTTP_SEC_FETCH_SITE")
        if site is not None:
            foreign = site not in ("same-origin", "none")
        else:
            hosts = (host, environ["HTTP_HOST"])
            foreign = origin is not None and not any(_is_at(origin, host) for host in hosts)
        if not foreign:
            return None
        detail = f"A web page of another origin ({origin or site}) may not do this; allow it with --cors-origin."
        return Problem(http_problem(403), detail)

    def _is_served(self, host: str) -> bool:
        found = HOST.fullmatch(host)
        name = (
            (found["address"] or found["name"].removesuffix(".")).lower() if found else ""
        )  # `localhost.` is absolute
        return self._every_host or name in self._hosts or name == "localhost" or _is_loopback_address(name)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return all(_is_loopback_address(str(found[4][0])) for found in socket.getaddrinfo(host, None))
    except OSError:
        return False


def _is_loopback_address(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _is_at(origin: str, host: str) -> bool:
    """Whether an origin is that of pages from this host, by whatever scheme a proxy is asked."""
    scheme, _, authority = origin.lower().partition("://")
    return authority == host.lower().removesuffix(_DEFAULT_PORTS.get(scheme, ""))


def _no_host(detail: str) -> Problem:
    return Problem(http_problem(400), f"The request {detail}.")
