"""Live events on their way from the controller to a web worker: to those who listen, and no more than they read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from para_attn_server.controller.control_server import ControlServer
from para_attn_server.core.job import Job, JobStatus
from para_attn_server.core.live_ring import MOST_BYTES
from para_attn_server.core.wire import control as channel
from para_attn_server.core.wire.control import (
    JobUpdate,
    LineBuffer,
    Listen,
    LiveEvent,
    LiveMark,
    PoolView,
    RowsWritten,
    Unlisten,
    encode,
)
from para_attn_server.core.wire.ranks import Emit
from para_attn_server.pool.transitions import Transition

Message = channel.ToController | channel.ToWeb


def transition(status: JobStatus, run: int = 1) -> Transition:
    return Transition(Job("a", 1, status, None, "/out/a.png", 1.0, run=run))


class Worker:
    """A web worker's end, which reads when it is asked to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer, self._lines = reader, writer, LineBuffer()

    def say(self, message: channel.ToController) -> None:
        self.writer.write(encode(message))

    async def read(self, until: Callable[[list[Message]], bool]) -> list[Message]:
        found: list[Message] = []
        while not until(found):
            found += self._lines.feed(await self._reader.read(2**16))
        return found


def play(folder: Path, scene: Callable[[ControlServer, Worker], Awaitable[None]]) -> None:
    async def run() -> None:
        server = ControlServer(lambda *_: None, lambda *_: None, lambda: PoolView(1.0))
        await server.start(folder)
        worker = Worker(*await asyncio.open_unix_connection(sock=channel.connect(folder)))
        await worker.read(lambda found: any(isinstance(message, PoolView) for message in found))
        await scene(server, worker)
        worker.writer.close()
        server.close()

    asyncio.run(asyncio.wait_for(run(), 30))


def numbers(messages: list[Message]) -> list[int]:
    return [message.number for message in messages if isinstance(message, LiveEvent)]


def test_who_listens_gets_what_is_kept_then_what_comes(tmp_path: Path) -> None:
    async def scene(server: ControlServer, worker: Worker) -> None:
        live = server.live
        live.observe(transition(JobStatus.RUNNING))
        server.publish(JobUpdate("a", "running", 0, None))
        live.emitted("a", Emit(1, "k", b"1", False))
        server.publish(JobUpdate("a", "running", 4, 9))
        worker.say(Listen("a"))
        first = await worker.read(lambda found: numbers(found) == [1])
        assert first == [
            JobUpdate("a", "running", 0, None),
            LiveMark("a", 1, 1),
            JobUpdate("a", "running", 4, 9),
            LiveEvent("a", 1, 1, "k", first[-1].at, "1", False),  # type: ignore[union-attr]
        ]
        live.emitted("a", Emit(1, "k", b"2", False))
        server.publish(JobUpdate("a", "running", 5, 9))
        live.rows_written("a")
        live.rows_written("b")
        live.observe(transition(JobStatus.SUCCEEDED))
        more = await worker.read(lambda found: LiveMark("a", 1, 2, over=True) in found)
        assert numbers(more) == [2] and more[1:3] == [JobUpdate("a", "running", 5, 9), RowsWritten("a")]
        worker.say(Unlisten("a"))
        worker.say(Listen("b"))
        await worker.read(lambda found: LiveMark("b", 0, 0) in found)
        live.observe(transition(JobStatus.RUNNING, 2))
        live.emitted("a", Emit(2, "k", b"1", False))
        server.publish(JobUpdate("a", "succeeded", 9, 9))
        assert await worker.read(bool) == [JobUpdate("a", "succeeded", 9, 9)], "nobody listens any more"

    play(tmp_path, scene)


def test_a_worker_that_does_not_read_leaves_them_in_the_ring(tmp_path: Path) -> None:
    """The controller's memory stays bounded, the connection stays, and what is overrun is a gap in the numbers."""

    async def scene(server: ControlServer, worker: Worker) -> None:
        server.live.observe(transition(JobStatus.RUNNING))
        worker.say(Listen("a"))
        await worker.read(lambda found: LiveMark("a", 1, 0) in found)
        worker.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(600):
            server.live.emitted("a", Emit(1, "k", b'"' + b"x" * 50_000 + b'"', False))
            await asyncio.sleep(0)
        (connection,) = server._connections
        assert connection._transport is not None and connection._transport.get_write_buffer_size() < 2**20
        assert server.live.ring("a").size <= MOST_BYTES
        worker.writer.transport.resume_reading()  # type: ignore[attr-defined]
        seen = numbers(await worker.read(lambda found: numbers(found)[-1:] == [600]))
        assert seen == sorted(set(seen)) and seen[0] == 1 and len(seen) < 300

    play(tmp_path, scene)
