"""The controller's end of an agent: an executor whose ranks are elsewhere.

Whoever loses the other counts its ranks as dead. The agent kills them before it works for a controller again, so a
launch that waits for the agent meets none of them there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec

import structlog

from para_attn_server.core.backoff import ExponentialBackoff
from para_attn_server.core.errors import ServerError, UsageError
from para_attn_server.core.wire.launch import GroupSpec
from para_attn_server.executors.agent.link import Link, LinkLost, NotTrusted, connect, read_secret, split_address
from para_attn_server.executors.agent.ranks import AgentLaunch
from para_attn_server.executors.agent.wire import (
    AbortLaunch,
    Alive,
    FromAgent,
    OfLaunch,
    Open,
    Opened,
    Refused,
    ToAgent,
)
from para_attn_server.executors.base import ExecutorOptions, RankEvents

log = structlog.get_logger()
P = ParamSpec("P")

SILENT, ALIVE_EVERY = 10.0, 1.0
"""Seconds without a word after which an agent counts as lost, and between two signs of life to it."""
OPENS_WITHIN = 15.0
"""Seconds that the agent may take at the server's start: it may be starting too, or end what a former server left."""
CONNECT_TIMEOUT = 5.0
"""Seconds of one try to reach it."""
RETRY_FIRST, RETRY_LAST = 0.1, 2.0
SAY_EVERY = 30.0
"""Seconds between two lines in the log that it cannot be reached."""
_TROUBLE = (OSError, LinkLost, TimeoutError)


class AgentExecutor:
    """Has an agent start ranks, and watches the agent."""

    def __init__(self, address: tuple[str, int], secret: bytes, options: ExecutorOptions, ranks: list[int]) -> None:
        self._address, self._secret, self.ranks = address, secret, ranks
        groups = [replace(wish, num_devices=count) for wish, count in zip(options.groups, ranks, strict=True)]
        self._options = replace(options, groups=groups)  # whatever the agent has when it comes back
        self._link: Link | None = None
        self._launches: dict[int, AgentLaunch] = {}  # by group
        self._now = self._heard_at = self._said_at = 0.0
        self._heard = False  # since the last tick
        self._complained_at: float | None = None
        self._working: asyncio.Task[None] | None = None

    def start(self, loop: asyncio.AbstractEventLoop, lock: Path) -> None:
        """Connect to the agent, now and whenever it is lost."""
        self._working = loop.create_task(self._work())

    def launch(self, generation: int, spec: GroupSpec, events: RankEvents) -> None:
        """Ask the agent for a group's ranks, once it is there."""
        launch = self._launches[spec.group] = AgentLaunch(generation, spec, events, self._send)
        if self._link is not None:
            launch.order()

    def abort_launch(self) -> None:
        """The agent does so; what it was not asked for yet has failed."""
        self._send(AbortLaunch())
        for launch in list(self._launches.values()):
            if not launch.ordered and not launch.over:
                launch.fail("the agent cannot be reached")

    def tick(self, now: float) -> None:
        """Say that this end lives, and give up an agent that does not."""
        self._now = now
        if self._link is None:
            return
        if self._heard:
            self._heard, self._heard_at = False, now
        if now - self._said_at >= ALIVE_EVERY:
            self._said_at = now
            self._send(Alive())
        if now - self._heard_at > SILENT:
            log.error("the agent shows no sign of life", seconds=SILENT)
            self._link.abort()

    def close(self) -> None:
        """End the connection, at which the agent ends what is left."""
        if self._working is not None:
            self._working.cancel()
        if self._link is not None:
            self._link.close()

    # --- the inside ---

    def _send(self, message: ToAgent) -> None:
        if self._link is not None:
            self._link.send(message)

    async def _work(self) -> None:
        pauses = ExponentialBackoff(RETRY_FIRST, RETRY_LAST)
        while True:
            try:
                link, _ = await _open(self._address, self._secret, self._options)
            except (*_TROUBLE, ServerError) as error:
                self._complain(error)
                await asyncio.sleep(pauses.fail())
            else:
                pauses.reset()
                await self._follow(link)

    async def _follow(self, link: Link) -> None:
        """Until the agent is lost."""
        log.info("agent is there", address=_shown(self._address))
        self._link, self._heard, self._complained_at = link, True, None
        for launch in list(self._launches.values()):
            if not launch.over:
                launch.order()
        try:
            while True:
                message = await link.receive()
                self._heard = True
                self._take(message)
        except LinkLost as error:
            log.error("the agent is lost", address=_shown(self._address), reason=str(error))
        link.abort()
        self._link = None
        for launch in list(self._launches.values()):
            self._guarded(launch.lose)

    def _take(self, message: FromAgent | ToAgent) -> None:
        if isinstance(message, OfLaunch):
            launch = self._launches.get(message.group)
            if launch is not None and launch.generation == message.generation and not launch.over:
                self._guarded(launch.on_message, message)

    def _guarded(self, call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            call(*args, **kwargs)
        except Exception:  # it would cost all ranks their connection
            log.exception("failed to handle what an agent reports")

    def _complain(self, error: Exception) -> None:
        """Not at every try."""
        if self._complained_at is None or self._now - self._complained_at >= SAY_EVERY:
            self._complained_at = self._now
            log.warning("the agent cannot be reached", address=_shown(self._address), reason=_why(error))


def open_executor(place: str, options: ExecutorOptions) -> AgentExecutor:
    """The one whose agent is at HOST:PORT. Raises UsageError, and ServerError where no agent can be used now."""
    address, secret = split_address(place), read_secret()
    return AgentExecutor(address, secret, options, asyncio.run(_ask(address, secret, options)))


async def _ask(address: tuple[str, int], secret: bytes, options: ExecutorOptions) -> list[int]:
    """How many ranks each group has there."""
    pauses, loop = ExponentialBackoff(RETRY_FIRST, RETRY_LAST), asyncio.get_running_loop()
    ends = loop.time() + OPENS_WITHIN
    while True:
        try:
            link, ranks = await _open(address, secret, options)
        except NotTrusted as error:
            raise UsageError(f"executor: the agent at {_shown(address)} cannot be used: {error}") from None
        except _TROUBLE as error:
            if loop.time() > ends:
                reason = f"executor: no agent can be used at {_shown(address)}: {_why(error)}"
                raise ServerError(f"{reason}; start one with para-attn-server agent") from None
            await asyncio.sleep(pauses.fail())
        else:
            link.close()
            return ranks


async def _open(address: tuple[str, int], secret: bytes, options: ExecutorOptions) -> tuple[Link, list[int]]:
    """A connection to an agent that works for this server, and how many ranks each group has there."""
    async with asyncio.timeout(CONNECT_TIMEOUT):
        link = await connect(*address, secret)
        try:
            link.send(Open(options))
            match await link.receive():
                case Opened(ranks):
                    return link, ranks
                case Refused(reason, True):
                    raise UsageError(reason)
                case Refused(reason):
                    raise LinkLost(reason)
                case other:
                    raise LinkLost(f"it began with {type(other).__name__}")
        except BaseException:
            link.abort()
            raise


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"it did not respond within {CONNECT_TIMEOUT:g} s"
    return getattr(error, "strerror", None) or str(error)


def _shown(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
