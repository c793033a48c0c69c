"""The agent: a process that runs ranks for one controller at a time, which reaches it by a TCP connection.

It keeps nothing from one controller to the next. Its ranks die with it, like those of a controller.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import structlog

from para_attn_server.core.errors import PortTaken, UsageError
from para_attn_server.core.listening import advice, listen
from para_attn_server.core.lock import LOCK_NAME, StateDirLock
from para_attn_server.core.signals import StopSignals
from para_attn_server.executors.agent.link import Link, LinkLost, accept, split_address
from para_attn_server.executors.agent.session import Session
from para_attn_server.executors.agent.wire import Open, Opened, Refused

log = structlog.get_logger()
HANDSHAKE_TIMEOUT = 5.0
"""Seconds that whoever connects has to prove itself and to say what it needs."""


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """The options of `para-attn-server agent`."""

    listen: str
    state_dir: str
    controller_timeout: float
    log_level: str
    log_format: str


class Agent:
    """One agent, on the loop that it is made on."""

    def __init__(self, secret: bytes, lock: Path, controller_timeout: float) -> None:
        self._secret, self._lock, self._controller_timeout = secret, lock, controller_timeout
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._session: Session | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def run(self, listener: socket.socket, signals: StopSignals | None = None) -> None:
        """Serve until asked to stop; no rank is left then."""
        if signals is not None:
            signals.follow(self._stop_soon)
        server = await asyncio.start_server(self._on_connection, sock=listener)
        host, port = listener.getsockname()[:2]
        log.info("agent is listening", host=host, port=port, pid=os.getpid())
        await self._stop.wait()
        server.close()
        if self._session is not None:
            self._session.end()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _stop_soon(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: so does the process
            self._loop.call_soon_threadsafe(self._stop.set)

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                link = await accept(reader, writer, self._secret)
                message = await link.receive()
            if isinstance(message, Open):
                await self._serve(link, message)
        except (LinkLost, TimeoutError) as error:
            log.warning("a connection was refused", reason=str(error) or "it took too long to prove itself")
        except Exception:
            log.exception("unhandled error for a controller")
        finally:
            writer.close()
            self._connections.discard(task)

    async def _serve(self, link: Link, message: Open) -> None:
        if self._session is not None or self._stop.is_set():
            link.send(Refused("it works for another controller, or has not ended its ranks yet", usage=False))
            return
        try:
            session = Session(link, message.options, self._lock, self._controller_timeout)
        except UsageError as error:
            link.send(Refused(str(error), usage=True))
            return
        self._session = session
        link.send(Opened(session.ranks))
        try:
            await session.run()
        finally:
            self._session = None


def serve(options: AgentOptions, secret: bytes, signals: StopSignals) -> None:
    """Run an agent until it is asked to stop. Raises UsageError, PortTaken, or StateDirError."""
    host, port = split_address(options.listen)
    with StateDirLock(Path(options.state_dir)):
        try:
            listener = listen(host, port)
        except OSError as error:
            reason = f"cannot listen on {options.listen} ({error.strerror}); {advice(error)}"
            raise PortTaken(reason.replace("--host", "--listen").replace("--port", "--listen")) from None
        lock = Path(options.state_dir) / LOCK_NAME
        asyncio.run(_run(secret, lock, options.controller_timeout, listener, signals))


async def _run(
    secret: bytes, lock: Path, controller_timeout: float, listener: socket.socket, signals: StopSignals
) -> None:
    await Agent(secret, lock, controller_timeout).run(listener, signals)  # made on the loop that it runs on
