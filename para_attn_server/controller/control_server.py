"""The controller's end of the control channel: orders from web workers in, news to all of them out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from para_attn_server.core.job import Job, JobStatus
from para_attn_server.core.wire.control import (
    SOCKET_NAME,
    Alive,
    CancelOrder,
    CancelReply,
    Follow,
    JobUpdate,
    LineBuffer,
    Listen,
    LiveMark,
    PoolView,
    QueueView,
    RowsWritten,
    Submitted,
    ToWeb,
    Unlisten,
    encode,
    listen,
)
from para_attn_server.pool.live_events import LiveEvents

log = structlog.get_logger()
SILENT = 10.0
"""Seconds without a sign of life after which a web worker is killed."""
_MOST_UNREAD = 4 * 2**20
"""Bytes that a web worker may leave unread before its connection is cut; it connects again and asks the store."""


class ControlServer:
    """Serves the control socket on the controller's loop.

    on_submitted and on_cancel carry out the orders; the reply to a cancel may come later. view gives the PoolView that
    greets each new connection. live: the jobs' live events, which are sent to those who listen.
    """

    def __init__(
        self,
        on_submitted: Callable[[Job, str | None], None],
        on_cancel: Callable[[CancelOrder, Callable[[CancelReply], None]], None],
        view: Callable[[], PoolView],
        clock: Callable[[], float] = time.monotonic,
        live: LiveEvents | None = None,
    ) -> None:
        self.on_submitted, self.on_cancel, self.view, self.clock = on_submitted, on_cancel, view, clock
        self.live = live or LiveEvents()
        self.live.heard = self._on_live
        self._connections: set[WebConnection] = set()
        self._running: dict[str, JobUpdate] = {}
        self._queue: QueueView | None = None
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._bound: tuple[int, int] | None = None

    async def start(self, state_dir: Path) -> None:
        """Begin to serve in that directory."""
        self._path = state_dir / SOCKET_NAME
        await self._listen()

    async def look(self) -> None:
        """Listen anew where the socket was removed; the connections stay. Raises OSError."""
        if self._path is not None and _id(self._path) != self._bound:
            await self._listen()
            log.warning("the control socket was missing; recreated it")

    async def _listen(self) -> None:
        assert self._path is not None
        if self._server is not None:
            self._server.close()
        listener = listen(self._path.parent)
        self._bound = _id(self._path)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: WebConnection(self), sock=listener)

    def publish(self, message: ToWeb) -> None:
        """Send news to every web worker, a job's steps to those that follow it; never blocks."""
        step_of = self._note(message) if isinstance(message, JobUpdate) else None
        if isinstance(message, QueueView):
            self._queue = message
        to = [each for each in self._connections if step_of is None or each.wants_steps(step_of)]
        if to:
            line = encode(message)
            for connection in to:
                connection.write(line)

    def _note(self, update: JobUpdate) -> str | None:
        """Remember what runs; the job's id if all that is new is the step of one that was running before."""
        if update.status != JobStatus.RUNNING:
            self._running.pop(update.job_id, None)
            for connection in self._connections:
                connection.follows.discard(update.job_id)
            return None
        known = update.job_id in self._running
        self._running[update.job_id] = update
        return update.job_id if known else None

    def follow(self, connection: WebConnection, job_id: str) -> None:
        """Report a job's steps to that web worker, the one that it has reached at once."""
        if (latest := self._running.get(job_id)) is not None:
            connection.follows.add(job_id)
            connection.write(encode(latest))

    def listen(self, connection: WebConnection, job_id: str) -> None:
        """Send that web worker the job's live events, those first that are kept, and its steps."""
        connection.write(encode(self.live.mark(job_id)))
        if (latest := self._running.get(job_id)) is not None:
            connection.write(encode(latest))
        connection.listens[job_id] = 0
        connection.pump(job_id)

    def _on_live(self, job_id: str, message: LiveMark | RowsWritten | None) -> None:
        listeners = [each for each in self._connections if job_id in each.listens]
        for connection in listeners:
            connection.pump(job_id)
            if message is not None:
                connection.write(encode(message))
            if isinstance(message, LiveMark):
                connection.listens[job_id] = 0  # the next run counts anew

    def tick(self, now: float) -> None:
        """Kill web workers that show no sign of life any more; gunicorn starts others. now: by the clock."""
        for connection in list(self._connections):
            if connection.silent(now) > SILENT:
                connection.end_worker()

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
        if self._queue is not None:
            connection.write(encode(self._queue))

    def closed(self, connection: WebConnection) -> None:
        """A web worker has gone."""
        self._connections.discard(connection)


def _id(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


class WebConnection(asyncio.Protocol):
    """One web worker's connection.

    follows: jobs whose steps it wants. listens: jobs whose live events it wants, each with the number of the last one
    that was sent: a worker that does not read keeps them waiting in their rings, and nowhere else.
    """

    def __init__(self, server: ControlServer) -> None:
        self._server = server
        self._buffer = LineBuffer()
        self._transport: asyncio.Transport | None = None
        self._heard_at: float | None = None
        self._full = False
        self.follows: set[str] = set()
        self.listens: dict[str, int] = {}

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
            log.warning("invalid message on control connection; closing")
            self.close()

    def _carry_out(self, message: Any) -> None:
        if isinstance(message, Submitted):
            self._server.on_submitted(message.job, message.request_id)
        elif isinstance(message, Follow):
            self._server.follow(self, message.job_id)
        elif isinstance(message, Listen):
            self._server.listen(self, message.job_id)
        elif isinstance(message, Unlisten):
            self.listens.pop(message.job_id, None)
        elif isinstance(message, Alive):
            self._heard_at = self._server.clock()
        elif isinstance(message, CancelOrder):
            self._server.on_cancel(message, lambda reply: self.write(encode(reply)))

    def wants_steps(self, job_id: str) -> bool:
        """Whether somebody there follows the job."""
        return job_id in self.follows or job_id in self.listens

    def pump(self, job_id: str) -> None:
        """Send the live events of a job that have not been sent, as far as there is room."""
        for entry in self._server.live.ring(job_id).after(self.listens[job_id]):
            if self._full:
                return
            self.write(entry.value)
            self.listens[job_id] = entry.number

    def pause_writing(self) -> None:
        """Called by asyncio: the worker does not read."""
        self._full = True

    def resume_writing(self) -> None:
        """Called by asyncio: there is room again."""
        self._full = False
        for job_id in list(self.listens):
            self.pump(job_id)

    def write(self, line: bytes) -> None:
        """Queue one line."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > _MOST_UNREAD:
            self._transport.abort()
            return
        self._transport.write(line)

    def silent(self, now: float) -> float:
        """Seconds since the worker's last sign of life; 0 before its first."""
        return 0.0 if self._heard_at is None else now - self._heard_at

    def end_worker(self) -> None:
        """Kill the process at the other end."""
        assert self._transport is not None
        peer = self._transport.get_extra_info("socket")
        (pid,) = struct.unpack_from("i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        log.error("a web worker shows no sign of life; killing it", pid=pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self._transport.abort()

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()
