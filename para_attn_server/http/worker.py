"""gunicorn's gevent worker, with a stop that is quick: idle connections are dropped, waiting requests answered."""

from __future__ import annotations

import http
import json
import signal
import socket
from functools import partial
from typing import Any

import gevent
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn import util
from gunicorn.workers.ggevent import GeventWorker

_HEARTBEAT = 1.0


def _write_problem(client: socket.socket, status: int, reason: str, message: str) -> None:
    """In place of gunicorn's HTML page for what never reaches the app, such as a request line that makes no sense."""
    detail = message or "The server's log says more."
    body = json.dumps({"type": "about:blank", "title": reason, "status": status, "detail": detail})
    head = (
        f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\nConnection: close\r\nCache-Control: no-store\r\n"
        f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(client, (head + body).encode("latin1"))


util.write_error = _write_problem


class WebWorker(GeventWorker):
    """One web worker process. Its app carries the service that is closed at the end."""

    def init_signals(self) -> None:
        """Called by gunicorn: SIGTERM must wake the event loop, which a plain signal handler does not."""
        super().init_signals()
        self._stop = Event()
        self._busy = 0
        gevent.signal_handler(signal.SIGTERM, self._begin_stop)

    def _begin_stop(self) -> None:
        self.alive = False
        self._stop.set()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Called by gunicorn for each connection."""
        # gunicorn sends headers and body apart; with Nagle's algorithm the second waits 40 ms for the client's ACK.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().handle(listener, client, addr)

    def handle_request(self, *args: Any) -> Any:
        """Called by gunicorn for each request; counts those under way."""
        self._busy += 1
        try:
            return super().handle_request(*args)
        finally:
            self._busy -= 1

    def run(self) -> None:
        """Called by gunicorn: serve until told to stop, then finish what is under way."""
        servers = [self._server(sock) for sock in self.sockets]
        while self.alive:
            self.notify()
            self._stop.wait(_HEARTBEAT)
        for server in servers:
            server.close()
        self.wsgi.extensions["service"].close()
        with gevent.Timeout(self.cfg.graceful_timeout, False):
            while self._busy:
                gevent.sleep(0.01)

    def _server(self, sock: Any) -> StreamServer:
        sock.setblocking(1)
        server = StreamServer(sock, handle=partial(self.handle, sock), spawn=Pool(self.worker_connections))
        if self.cfg.workers > 1:
            server.max_accept = 1
        server.start()
        return server
