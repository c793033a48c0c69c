"""A client's connection that knows until when the worker waits for it, to send a request or to take an answer."""

from __future__ import annotations

import math
import socket as sockets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gevent import socket

KEEPALIVE_SECONDS = 30.0
"""How long a connection may be idle between two requests."""
SLOWEST_UPLOAD = 32 * 2**10
"""Bytes a second at which a file may come, however long that takes."""


class Connection(socket.socket):
    """Takes a client's socket over. A deadline counts only while the worker waits for the client, and is held by
    whoever calls `expire` now and then: so a request that is sent and taken in time costs no timer.

    timeout: seconds to send a whole request from its first byte on, and for the first byte of a new connection. Of an
    answer something must be taken every so many seconds. most: bytes that are received for a request, and as many of
    its body after the answer, so that a client which sends on sees the answer; then the client is as good as gone.

    in_app: whether the app has got the request. refused_with: the status for one that it has not.
    """

    def __init__(self, client: Any, timeout: float, most: int) -> None:
        super().__init__(client.family, client.type, client.proto, fileno=client.detach())
        self._timeout, self._most = timeout, most
        self._left = most
        self._receive_until = time.monotonic() + timeout
        self._receiving = self._answering = self._uploading = False
        self._deadline = math.inf
        self.rests_since = time.monotonic()
        self.in_app = False
        self.refused_with = 0

    @property
    def in_use(self) -> bool:
        """Whether a request is being received or answered."""
        return self._receiving

    def received_for(self) -> float:
        """Seconds since the first byte of the request."""
        return time.monotonic() - self._receive_until + self._timeout if self._receiving else 0.0

    def rest(self) -> None:
        """A request is done with; another may come."""
        self.rests_since = time.monotonic()
        self._receive_until = self.rests_since + KEEPALIVE_SECONDS
        self._receiving = self._answering = self._uploading = self.in_app = False
        self._left = self._most

    def expect_upload(self, most: int) -> None:
        """The request has files of so many bytes: it may be as much longer, and may take its time."""
        self._left += 2 * most  # for the sizes of chunks
        self._uploading = True

    def recv(self, *args: Any) -> bytes:
        """Some bytes of a request; none when the client has gone."""
        if self._left < 0:
            return b""
        self._deadline = self._receive_until
        data: bytes = super().recv(*args)
        self._deadline = math.inf
        self._left -= len(data)
        if self._uploading:
            self._receive_until += len(data) / SLOWEST_UPLOAD
        if not self._receiving:
            self._receiving = True
            self._receive_until = time.monotonic() + self._timeout
        return data

    def send(self, *args: Any, **options: Any) -> int:
        """Some bytes of an answer; `sendall` and `sendfile` come here too."""
        self._answering = True
        self._deadline = time.monotonic() + self._timeout
        sent: int = super().send(*args, **options)
        self._deadline = math.inf
        return sent

    def expire(self, now: float, say_late: Callable[[Connection], None]) -> None:
        """End the connection where its time is up. say_late: tells the client, where that can still be done."""
        if now < self._deadline:
            return
        if self._receiving and not self._answering:
            with suppress(OSError):
                say_late(self)
        with suppress(OSError):
            # gevent's own shutdown() raises EBADF in the one who waits; so it just sees a client that has gone.
            self._sock.shutdown(sockets.SHUT_RDWR)
