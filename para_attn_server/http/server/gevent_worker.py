"""gunicorn's gevent worker, with a stop that is quick and clients that are held to their time.

At a stop whoever waits is answered, and so is every request on a connection that a client has got; then the connection
is closed. Where connections get scarce, they are closed after each answer instead of being kept for the next request.
"""

from __future__ import annotations

import http
import json
import signal
import socket
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache, partial
from typing import Any, TypeVar, cast
from urllib.parse import quote

import gevent
import gevent.select
import structlog
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn import util
from gunicorn.http.errors import ParseException
from gunicorn.http.message import Request
from gunicorn.workers.ggevent import GeventWorker
from structlog.contextvars import bound_contextvars, get_contextvars

from para_attn_server.http.kit.files import NO_FRAMES
from para_attn_server.http.kit.request_log import REQUEST_ID, new_request_id
from para_attn_server.http.server.connection import Connection
from para_attn_server.service.budget import spare

log = structlog.get_logger()
T = TypeVar("T")
HEARTBEAT = 1.0
_LINGER = 0.2
"""Seconds that a stopping worker still expects requests: those that were sent before the client could know."""
_ACCEPTS = 1.0
"""Seconds that it accepts connections, at the most: the next worker has the socket too, unless the server stops."""
_BLOCK = 2**16
_HEADERS = 2**20  # bytes of a request beside its body, more than gunicorn takes
_LATE = "The request was not received in time."


def _write_problem(client: Connection, status: int, _reason: str, message: str) -> None:
    """In place of gunicorn's HTML page for what never reaches the app, such as a request line that makes no sense.

    Its name is the one that the log lines about it have.
    """
    client.refused_with = status
    detail = message or "See the server log."
    phrase = http.HTTPStatus(status).phrase  # gunicorn's own is "Bad Request" for a 501 too
    body = json.dumps({"type": "about:blank", "title": phrase, "status": status, "detail": detail})
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nConnection: close\r\nCache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        f"Content-Security-Policy: {NO_FRAMES}\r\nCross-Origin-Resource-Policy: same-origin\r\n"
        f"{REQUEST_ID}: {get_contextvars()['request_id']}\r\n"
        f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(client, (head + body).encode("latin1"))


util.write_error = _write_problem


def _known_of(error: BaseException) -> dict[str, str]:
    """Method and path of a request that was refused before it was whole, as far as gunicorn had read it."""
    for frame, _line in traceback.walk_tb(error.__traceback__):
        if isinstance(refused := frame.f_locals.get("self"), Request):
            known = {"method": refused.method, "path": refused.path}
            return {name: quote(value, "/%") for name, value in known.items() if value}
    return {}


def _drain(req: Any) -> None:
    """Read what is left of a refused body: a client that is still sending it would not see its answer, and what comes
    after it belongs to the next request."""
    with suppress(OSError, ParseException):
        while req.body.read(_BLOCK):
            pass


def off_loop(work: Callable[[], T]) -> T:
    """What that work returns, or raises, done in a thread: others are served meanwhile."""

    def guarded() -> tuple[T | None, Exception | None]:  # the pool would print what is raised, as if nobody saw it
        try:
            return work(), None
        except Exception as error:
            return None, error

    done, error = gevent.get_hub().threadpool.apply(guarded)
    if error is not None:
        raise error
    return cast("T", done)


class WebWorker(GeventWorker):
    """One web worker process. Its app carries the service that is closed at the end."""

    def init_signals(self) -> None:
        """Called by gunicorn: SIGTERM must wake the event loop, which a plain signal handler does not."""
        super().init_signals()
        self._stop = Event()
        self._busy = 0
        self._open: set[Connection] = set()
        self._kept = self.worker_connections - spare(self.worker_connections)
        gevent.signal_handler(signal.SIGTERM, self._begin_stop)

    def _begin_stop(self) -> None:
        self.alive = False
        self._stop.set()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Called by gunicorn for each connection."""
        # gunicorn sends headers and body apart; with Nagle's algorithm the second waits 40 ms for the client's ACK.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = self.app.settings
        # Twice, for the sizes of chunks, however small they are within reason.
        connection = Connection(client, settings.request_timeout, 2 * settings.max_body + _HEADERS)
        self._open.add(connection)
        try:
            super().handle(listener, connection, addr)
        finally:
            self._open.discard(connection)

    def timeout_ctx(self) -> AbstractContextManager[None]:
        """Called by gunicorn around the receipt of a request line with its headers; `Connection` sees to that."""
        return nullcontext()

    def handle_error(self, req: Any, client: Connection, addr: Any, exc: BaseException) -> None:
        """Called by gunicorn where a request is refused, or an answer has failed. req: None if the app never got it."""
        name = (req and get_contextvars().get("request_id")) or new_request_id()
        with bound_contextvars(request_id=name):
            super().handle_error(req, client, addr, exc)
            if req is None:
                self._log_refused(client, **_known_of(exc))

    def _log_refused(self, client: Connection, **known: str) -> None:
        if self.app.settings.access_log:
            log.info("request", **known, status=client.refused_with, duration_s=round(client.received_for(), 4))

    def _say_late(self, connection: Connection) -> None:
        with bound_contextvars(request_id=new_request_id()):
            try:
                _write_problem(connection, 408, "Request Timeout", _LATE)
            finally:
                if not connection.in_app:  # else the app logs it
                    self._log_refused(connection)

    def handle_request(self, listener_name: Any, req: Any, sock: Connection, addr: Any) -> Any:
        """Called by gunicorn for each request; counts those under way."""
        self._busy += 1
        sock.in_app = True
        req.should_close = cache(partial(self._closes, req.should_close))  # asked again after what the answer has said
        try:
            return super().handle_request(listener_name, req, sock, addr)
        finally:
            self._busy -= 1
            _drain(req)
            sock.rest()

    def run(self) -> None:
        """Called by gunicorn: serve until asked to stop, then finish open requests."""
        servers = [self._server(sock) for sock in self.sockets]
        while self.alive:
            self.notify()
            self.wsgi.extensions["service"].beat()
            self._stop.wait(HEARTBEAT)
            self._expire()
        service = self.wsgi.extensions["service"]
        service.stop_waiting()
        with gevent.Timeout(self.cfg.graceful_timeout, False):
            self._finish(servers, time.monotonic())
        service.close()

    def _finish(self, servers: list[StreamServer], began: float) -> None:
        """Answer what has come, also on connections that nobody has accepted yet. Ends when nothing more is to be
        expected."""
        while time.monotonic() < began + _ACCEPTS and gevent.select.select(self.sockets, [], [], 0)[0]:
            gevent.sleep(0.01)
        for server in servers:
            server.close()
        while self._busy or any(c.in_use or time.monotonic() < max(began, c.rests_since) + _LINGER for c in self._open):
            gevent.sleep(0.01)

    def _closes(self, asked: Callable[[], bool]) -> bool:
        """Whether an answer is the last on its connection. asked: whether the client has asked for that."""
        return not self.alive or len(self._open) > self._kept or asked()

    def _expire(self) -> None:
        now = time.monotonic()
        for connection in list(self._open):
            connection.expire(now, self._say_late)

    def _server(self, sock: Any) -> StreamServer:
        sock.setblocking(1)
        server = StreamServer(sock, handle=partial(self.handle, sock), spawn=Pool(self.worker_connections))
        if self.cfg.workers > 1:
            server.max_accept = 1
        server.start()
        return server
