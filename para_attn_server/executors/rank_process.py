"""One rank's process as the daemon's loop sees it: messages by a socket, its end by a pidfd.

A pidfd, because everything else lies: the process's own sentinel is held open by helpers that the rank has forked,
and a child that somebody else has reaped looks alive for ever. Reading and writing never block, however a rank has
been stopped: a rank stopped in mid-message leaves half a frame in the buffer here and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import struct
from collections.abc import Callable
from typing import Any

import psutil
import structlog

from para_attn_server.core.messages import FromRank, ToRank
from para_attn_server.executors.base import Death, RankEvents
from para_attn_server.executors.oom import OomKills

log = structlog.get_logger()
_HEADER = struct.Struct("!i")  # the frames of multiprocessing.connection, which the rank's end speaks
_LARGEST = 64 * 2**20
_LARGEST_STACKS = 2**16
_OOM_HINT = "the ranks need more host memory than the machine or its container has: allow more, or lower the size"


class RankProcess(asyncio.Protocol):
    """The handle of one started rank (see executors/base.py)."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        generation: int,
        rank: int,
        process: Any,
        ours: socket.socket,
        stacks_fd: int,
        events: RankEvents,
        starter_alive: Callable[[], bool],
        oom_kills: OomKills,
        bury: Callable[[], None],
    ) -> None:
        self.pid: int = process.pid
        self._stacks_fd, self._starter_alive, self._oom_kills = stacks_fd, starter_alive, oom_kills
        self._bury = bury
        self._loop, self._events, self._process = loop, events, process
        self._generation, self._rank = generation, rank
        self._buffer = bytearray()
        self._socket = ours
        self._ended = False
        self._transport: asyncio.Transport | None = None
        self._connecting = loop.create_task(loop.connect_accepted_socket(lambda: self, ours))
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:  # it has ended, and the forkserver has reaped it, before we could look
            self._pidfd = -1
            loop.call_soon(self._on_exit)
        else:
            loop.add_reader(self._pidfd, self._on_exit)

    # --- the handle ---

    def send(self, message: ToRank) -> None:
        """Queue a message; never blocks."""
        payload = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        if self._transport is not None and not self._ended:
            self._transport.write(_HEADER.pack(len(payload)) + payload)

    def kill(self) -> None:
        """SIGKILL to the process, its process group, and descendants that have left that group."""
        if self._ended or self._pidfd < 0:
            return
        helpers = []
        with contextlib.suppress(psutil.Error):
            helpers = psutil.Process(self.pid).children(recursive=True)
        self._kill_process_group()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        for helper in helpers:
            with contextlib.suppress(psutil.Error):
                helper.kill()

    def _kill_process_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def request_stacks(self) -> None:
        """Have faulthandler in the rank write to its stacks file (see worker/rank.py)."""
        if not self._ended and self._pidfd >= 0:
            os.ftruncate(self._stacks_fd, 0)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGUSR1)

    def stacks(self) -> str:
        """The stacks file; the end of a very long one is cut."""
        return "" if self._ended else os.pread(self._stacks_fd, _LARGEST_STACKS, 0).decode(errors="replace")

    def stopped(self) -> bool:
        """The process's state by /proc, see proc_pid_stat(5)."""
        try:
            return psutil.Process(self.pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
        except psutil.Error:
            return False

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a socket's transport writes

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        for frame in self._frames():
            try:
                message: FromRank = pickle.loads(frame)
            except Exception:
                log.exception("a rank's message cannot be read: the rank is killed", rank=self._rank)
                self.kill()
                return
            try:
                self._events.message(self._generation, self._rank, message)
            except Exception:  # it would cost this rank its pipe, and with it the whole group
                log.exception("a rank's message could not be acted upon", rank=self._rank)

    def connection_lost(self, exc: Exception | None) -> None:
        """A rank without its pipe is of no use, even if it lives."""
        self.kill()

    # --- the inside ---

    def _frames(self) -> list[bytes]:
        frames = []
        while len(self._buffer) >= _HEADER.size:
            (size,) = _HEADER.unpack_from(self._buffer)
            if not 0 <= size <= _LARGEST:
                log.error("a rank's pipe carries garbage: the rank is killed", rank=self._rank, pid=self.pid)
                self._buffer.clear()
                self.kill()
                break
            end = _HEADER.size + size
            if len(self._buffer) < end:
                break
            frames.append(bytes(self._buffer[_HEADER.size : end]))
            del self._buffer[:end]
        return frames

    def _on_exit(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
        self._drain()
        self._ended = True
        self._kill_process_group()  # helpers that the rank has left behind; those that have left the group follow
        self._bury()
        os.close(self._stacks_fd)
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._connecting.cancel()
        if self._transport is not None:
            self._transport.abort()
        else:
            self._socket.close()
        death = self._death()
        with contextlib.suppress(ValueError):  # its exit status never came
            self._process.close()
        self._events.died(self._generation, self._rank, death)

    def _drain(self) -> None:
        """Read what the rank said last: its end and its last words reach the loop in any order."""
        with contextlib.suppress(OSError):
            while data := self._socket.recv(2**16, socket.MSG_DONTWAIT):
                self.data_received(data)

    def _death(self) -> Death:
        if not self._starter_alive():
            return Death("ended with the forkserver", own_fault=False)
        code = self._exit_code()
        if code == -signal.SIGKILL and self._oom_kills.take():
            return Death("was killed by the kernel's out-of-memory killer", hint=_OOM_HINT)
        return Death(_in_words(code))

    def _exit_code(self) -> int | None:
        self._process.join(timeout=0.05)  # the forkserver tells it an instant after the death itself
        code: int | None = self._process.exitcode
        return code


def _in_words(code: int | None) -> str:
    if code is None or code == 255:
        return "ended (exit status unknown)"
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
