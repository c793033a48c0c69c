"""One rank's process as the controller's loop sees it: messages by a socket, its end by a pidfd.

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
import time
from collections.abc import Callable
from typing import Any

import psutil
import structlog

from para_attn_server.core.wire.ranks import FromRank, ToRank
from para_attn_server.executors.base import ExitInfo
from para_attn_server.executors.helpers import ended
from para_attn_server.executors.launch import LocalLaunch
from para_attn_server.executors.loading import Loading
from para_attn_server.executors.oom import OomKills
from para_attn_server.executors.started import StartedRank

log = structlog.get_logger()
_HEADER = struct.Struct("!i")  # the frames of multiprocessing.connection, which the rank's end speaks
_UNKNOWN = (None, 255)  # exit codes that multiprocessing gives where it was never informed
STARTER_ENDS_WITHIN = 1.0
"""Seconds within which a forkserver that dies with its rank is seen to be dead too."""
_LARGEST = 64 * 2**20
_LARGEST_STACKS = 2**16
_OOM_HINT = "the ranks need more host memory than the machine or its container has: allow more, or lower the size"


class RankProcess(asyncio.Protocol):
    """The handle of one started rank (see executors/base.py)."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        launch: LocalLaunch,
        rank: int,
        started: StartedRank,
        oom_kills: OomKills,
        bury: Callable[[], None],
    ) -> None:
        self.pid: int = started.process.pid
        self._process, self._socket = started.process, started.socket
        self._stacks_fd, self._pidfd, self._starter = started.stacks_fd, started.pidfd, started.forkserver
        self._loop, self._launch, self._oom_kills, self._bury = loop, launch, oom_kills, bury
        self._rank = rank
        self._buffer = bytearray()
        self._ended = False
        self._loaded = False  # it has said how its setup went
        self._started_at = time.monotonic()
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[Any] | None = None

    def watch(self) -> None:
        """Follow the process's end. Raises OSError where the kernel has no room for that."""
        if self._pidfd >= 0:
            self._loop.add_reader(self._pidfd, self._on_exit)

    def forget(self) -> None:
        """Undo `watch`, whether it was called or not."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)

    def connect(self) -> None:
        """Follow what the process says."""
        self._connecting = self._loop.create_task(self._loop.connect_accepted_socket(lambda: self, self._socket))
        if self._pidfd < 0:
            self._loop.call_soon(self._on_exit)

    @property
    def loading(self) -> Loading | None:
        """What it is while it is being set up."""
        if self._loaded or self._ended:
            return None
        return Loading("rank is loading", {"group": self._launch.group, "rank": self._rank}, self.pid, self._started_at)

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
        if self._owns_process_group():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _owns_process_group(self) -> bool:
        """False if the rank's pid has come to another process, which it can when nobody of the group is left."""
        if self._pidfd >= 0 and not ended(self._pidfd):
            return True
        try:
            holder = psutil.Process(self.pid)
            return holder.status() == psutil.STATUS_ZOMBIE and holder.ppid() == self._starter.pid
        except psutil.NoSuchProcess:
            return True

    def request_stacks(self) -> None:
        """Have faulthandler in the rank write to its stacks file (see rank/main.py)."""
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
                log.exception("cannot read a rank's message; killing the rank", rank=self._rank)
                self.kill()
                return
            self._loaded = True
            try:
                self._launch.message(self._rank, message)
            except Exception:  # it would cost this rank its pipe, and with it the whole group
                log.exception("failed to handle a rank's message", rank=self._rank)

    def connection_lost(self, exc: Exception | None) -> None:
        """A rank without its pipe is of no use, even if it lives."""
        self.kill()

    # --- the inside ---

    def _frames(self) -> list[bytes]:
        frames = []
        while len(self._buffer) >= _HEADER.size:
            (size,) = _HEADER.unpack_from(self._buffer)
            if not 0 <= size <= _LARGEST:
                log.error("invalid data on a rank's pipe; killing the rank", rank=self._rank, pid=self.pid)
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
        self._disconnect()
        if self._starter.alive() and self._exit_code() in _UNKNOWN:  # which its starter's end may explain
            self._starter.after_end(self._loop, STARTER_ENDS_WITHIN, self._tell_death)
        else:
            self._tell_death()

    def _tell_death(self) -> None:
        death = self._death()
        with contextlib.suppress(ValueError):  # its exit status never came
            self._process.close()
        self._launch.died(self._rank, death)

    def _disconnect(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        elif self._connecting is not None:  # a transport in the making still has the socket
            self._connecting.add_done_callback(lambda _: self._socket.close())
            self._connecting.cancel()
        self._connecting = None  # its result holds this object, and with it the forkserver's descriptor

    def _drain(self) -> None:
        """Read what the rank said last: its end and its last words reach the loop in any order."""
        with contextlib.suppress(OSError):
            while data := self._socket.recv(2**16, socket.MSG_DONTWAIT):
                self.data_received(data)

    def _death(self) -> ExitInfo:
        if not self._starter.alive():
            killed_by = self._starter.killed_by(self._oom_kills.take)
            return ExitInfo("ended with the forkserver", own_fault=False, signal=killed_by)
        code = self._exit_code()
        if code == -signal.SIGKILL and self._oom_kills.take():
            how = "was killed by the kernel's out-of-memory killer"
            return ExitInfo(how, hint=_OOM_HINT, signal=signal.SIGKILL, oom=True)
        return ExitInfo(_in_words(code), signal=-code if code is not None and code < 0 else None)

    def _exit_code(self) -> int | None:
        self._process.join(timeout=0.05)  # the forkserver reports it an instant after the death itself
        code: int | None = self._process.exitcode
        return code


def _in_words(code: int | None) -> str:
    if code in _UNKNOWN:
        return "ended (exit status unknown)"
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
