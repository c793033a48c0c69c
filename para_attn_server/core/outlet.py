"""Where a log goes, written to without waiting for who reads it: a stuck log shipper, a paused terminal.

What finds no room is lost and counted. No thread, no queue: a pipe or a terminal is opened once more with O_NONBLOCK,
so that the flags of the descriptor, which other processes share, stay as they are; a socket is asked per call.
"""

from __future__ import annotations

import _socket  # and not socket, whose methods gevent replaces in web workers
import atexit
import ctypes
import os
import socket
import stat
import struct
import time
import weakref
from collections.abc import Callable
from select import PIPE_BUF
from typing import ClassVar

WAIT, EVERY = 0.1, 5.0
"""Seconds that one process waits for room, at the most, in so many seconds: a reader that lives needs a moment."""
AT_THE_END = 1.0
"""Seconds that an orderly end waits for room for the rest of a line."""
_POLLOUT = 4

_libc = ctypes.CDLL(None)  # its poll() and not select's, which gevent replaces
_outlets: weakref.WeakSet[Outlet] = weakref.WeakSet()


class Outlet:
    """A descriptor that takes whole lines, or loses them.

    fd: looked at afresh at each write, since dup2 may put something else in its place. timeout: as `WAIT`.
    """

    lost: ClassVar[int] = 0
    """Lines that this process has lost and not yet reported, of all its outlets."""

    def __init__(self, fd: int, timeout: float = WAIT) -> None:
        self._fd, self._out, self._timeout = fd, fd, timeout
        self._target: tuple[int, ...] = ()
        self._send: Callable[[bytes], int] = self._plain
        self._rest = b""
        self._left, self._renewed = timeout, time.monotonic()
        self.flows = True
        _outlets.add(self)

    def write(self, data: bytes) -> None:
        """Write lines. A line that has been begun is ended first; none is begun in the middle of another one."""
        try:
            self._follow()
            self._rest = self._push(self._rest)
            left = data if self._rest else self._push(data)
        except OSError:  # a full disk, a reader that has gone
            self._rest, left = b"", data
        self.flows = len(left) < len(data)
        if self.flows:
            self._rest = left
        else:
            Outlet.lost += data.count(b"\n") or 1

    def finish(self) -> None:
        """At the end of the process: write the rest of a line, if that takes no longer than `AT_THE_END`."""
        if self._rest:
            self._left, self._renewed = AT_THE_END, time.monotonic()
            self.write(b"")

    def forget(self) -> None:
        """In a process that has been forked: what waits here is the other process's."""
        self._rest = b""

    def _push(self, data: bytes) -> bytes:
        """What found no room."""
        while data:
            try:
                data = data[self._send(data) :]
            except BlockingIOError:
                if not self._has_room_soon():
                    break
        return data

    def _has_room_soon(self) -> bool:
        now = time.monotonic()
        if now >= self._renewed + EVERY:
            self._left, self._renewed = self._timeout, now
        if self._left <= 0:
            return False
        ready = _has_room(self._out, self._left)
        self._left -= time.monotonic() - now
        return ready

    def _follow(self) -> None:
        target = _identity(self._fd)
        if target == self._target and (self._out == self._fd or _is(self._out, target)):
            return
        if self._out != self._fd and _is(self._out, self._target):  # else somebody has closed it
            os.close(self._out)
        self._out, self._send, self._target, self._rest = self._fd, self._plain, target, b""
        mode = target[2]
        if stat.S_ISSOCK(mode):
            self._send = self._to_socket
        elif stat.S_ISFIFO(mode) or os.isatty(self._fd):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
            try:
                self._out = os.open(f"/proc/self/fd/{self._fd}", flags)
            except OSError:  # another user's
                self._send = self._to_room

    def _plain(self, data: bytes) -> int:
        return os.write(self._out, data)

    def _to_socket(self, data: bytes) -> int:
        borrowed = _socket.socket(fileno=self._fd)
        try:
            return borrowed.send(data, socket.MSG_DONTWAIT)
        finally:
            borrowed.detach()

    def _to_room(self, data: bytes) -> int:
        """Of what reports room, so much can be written without waiting, unless another process is quicker."""
        if not _has_room(self._fd, 0):
            raise BlockingIOError
        return os.write(self._fd, data[:PIPE_BUF])


def _has_room(fd: int, seconds: float) -> bool:
    asked = ctypes.create_string_buffer(struct.pack("ihh", fd, _POLLOUT, 0))
    return bool(_libc.poll(asked, ctypes.c_ulong(1), int(seconds * 1000)) > 0)


def _identity(fd: int) -> tuple[int, ...]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino, status.st_mode, status.st_rdev


def _is(fd: int, target: tuple[int, ...]) -> bool:
    try:
        return _identity(fd) == target
    except OSError:
        return False


def _forget() -> None:
    Outlet.lost = 0
    for outlet in list(_outlets):
        outlet.forget()


def _finish() -> None:
    for outlet in list(_outlets):
        outlet.finish()


os.register_at_fork(after_in_child=_forget)
atexit.register(_finish)
