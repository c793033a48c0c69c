"""The parent's end of the control channel: orders from web workers in, news to all of them out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import structlog

from para_attn_server.core.channel import CancelOrder, CancelReply, LineBuffer, PoolView, Submitted, ToWeb, encode
from para_attn_server.core.errors import StateDirError

log = structlog.get_logger()
_MOST_UNREAD = 4 * 2**20
"""Bytes that a web worker may leave unread before its connection is cut; it connects again and asks the store."""


class ControlServer:
    """Serves the control socket on the daemon's loop.

    on_submitted and on_cancel carry out the orders; view gives the PoolView that greets each new connection.
    """

    def __init__(
        self,
        on_submitted: Callable[[str, str | None], None],
        on_cancel: Callable[[str | None], str | None],
        view: Callable[[], PoolView],
    ) -> None:
        self.on_submitted, self.on_cancel, self.view = on_submitted, on_cancel, view
        self._connections: set[WebConnection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket) -> None:
        """Begin to serve on the bound socket."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: WebConnection(self), sock=listener)

    def publish(self, message: ToWeb) -> None:
        """Send news to every web worker; never blocks."""
        if self._connections:
            line = encode(message)
            for connection in list(self._connections):
                connection.write(line)

    def close(self) -> None:
        """Close the socket and all connections."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()

    def opened(self, connection: WebConnection) -> None:
        """A web worker has connected."""
        self._connections.add(connection)
        connection.write(encode(self.view()))

    def closed(self, connection: WebConnection) -> None:
        """A web worker has gone."""
        self._connections.discard(connection)


class WebConnection(asyncio.Protocol):
    """One web worker's connection."""

    def __init__(self, server: ControlServer) -> None:
        self._server = server
        self._buffer = LineBuffer()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.closed(self)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._buffer.feed(data):
                self._carry_out(message)
        except ValueError:
            log.warning("a control connection carries garbage and is cut")
            self.close()

    def _carry_out(self, message: Any) -> None:
        try:
            if isinstance(message, Submitted):
                self._server.on_submitted(message.job_id, message.request_id)
            elif isinstance(message, CancelOrder):
                job_id = self._server.on_cancel(message.job_id)
                self.write(encode(CancelReply(message.request, job_id)))
        except StateDirError as error:  # the web worker gets no reply, and tells its client so
            log.error("an order could not be carried out", error=str(error))

    def write(self, line: bytes) -> None:
        """Queue one line."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > _MOST_UNREAD:
            self._transport.abort()
            return
        self._transport.write(line)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()
