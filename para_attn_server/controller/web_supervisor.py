"""Keeps gunicorn running as a child: its death costs nothing but a moment without HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import struct
import subprocess

import structlog

from para_attn_server.core.backoff import ExponentialBackoff
from para_attn_server.core.process import python_command
from para_attn_server.core.settings import Settings
from para_attn_server.core.stray_output import log_fds

log = structlog.get_logger()
RESTART_AFTER, RESTART_AFTER_LAST = 0.2, 5.0
"""Seconds before a gunicorn that has died is started again: doubled while it keeps dying young, up to the last."""
YOUNG = 5.0
LOOK_EVERY = 1.0
"""Seconds between two checks for a sign of life."""
SO_ATTACH_FILTER = 26  # of Linux; Python's socket module does not have it
SILENT, SILENT_AT_START = 10.0, 60.0
"""Seconds without a sign of life after which gunicorn is killed, and before its first one."""


def refuse_connections(listener: socket.socket) -> None:
    """Have the kernel drop packets that would open a new connection. Those that are open can still be accepted."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))  # a filter of one instruction: return 0
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(drop_all)))


class WebSupervisor:
    """Starts, watches, restarts and stops gunicorn on the listening socket that the controller holds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings, listener: socket.socket) -> None:
        self._loop, self._settings, self._listener = loop, settings, listener
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._started = 0.0
        self._backoff = ExponentialBackoff(RESTART_AFTER, RESTART_AFTER_LAST)
        self._stopping = False
        self._gone = asyncio.Event()
        self._beats = -1
        self._heard_at: float | None = None
        self._limit = SILENT_AT_START
        self._look_at = 0.0

    def start(self) -> None:
        """Start gunicorn in a separate process group, so that a terminal's Ctrl-C does not reach it."""
        fd = self._listener.fileno()
        beats, out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._launch(fd, out)
        except OSError:
            os.close(beats)
            raise
        finally:
            os.close(out)
        self._beats, self._heard_at, self._limit = beats, None, SILENT_AT_START

    def _launch(self, fd: int, out: int) -> None:
        self._process = subprocess.Popen(
            python_command("para_attn_server.http", str(fd), str(os.getpid()), str(out)),
            pass_fds=[fd, out, *log_fds()],
            process_group=0,
            stdin=subprocess.DEVNULL,
            env=self._settings.as_environment(os.environ),
        )
        self._started = self._loop.time()
        self._gone.clear()
        self._pidfd = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._pidfd, self._on_exit)

    async def stop(self, timeout: float) -> None:
        """SIGTERM, then SIGKILL after `timeout` seconds; returns when gunicorn's master is gone.

        The listening socket is given up: it ends with the last web worker that accepts what has reached it. So a client
        is answered, or its connection refused.
        """
        self._stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            refuse_connections(self._listener)  # or they come in as fast as the workers accept them
            process.terminate()
        self._listener.close()
        if process is None or process.returncode is not None:
            return
        try:
            await asyncio.wait_for(self._gone.wait(), timeout)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await self._gone.wait()

    def tick(self, now: float) -> None:
        """Kill a gunicorn whose master shows no sign of life any more. now: seconds that the controller has run."""
        if self._stopping or self._process is None or self._process.returncode is not None:
            return
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY
        with contextlib.suppress(BlockingIOError):
            if os.read(self._beats, 4096):
                self._heard_at, self._limit = now, SILENT
        if self._heard_at is None:
            self._heard_at = now
        elif now - self._heard_at > self._limit:
            log.error("the web server shows no sign of life; killing it", pid=self._process.pid)
            self._heard_at = now
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _on_exit(self) -> None:
        assert self._process is not None
        os.close(self._beats)
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        status = self._process.wait()
        self._gone.set()
        if self._stopping:
            return
        if self._loop.time() - self._started >= YOUNG:
            self._backoff.reset()
        pause = self._backoff.fail()
        log.error("web server exited; restarting", status=status, after_seconds=pause)
        self._loop.call_later(pause, self._restart)

    def _restart(self) -> None:
        if self._stopping:
            return
        try:
            self.start()
        except OSError as error:
            log.error("cannot start the web server", error=str(error))
            self._loop.call_later(self._backoff.fail(), self._restart)
