"""multiprocessing's forkserver, of which multiprocessing tells nothing: whether it lives, and what it leaves behind.

`latest` is for the thread that starts ranks. That thread alone reaps forkservers, so what it sees is theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import weakref
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from para_attn_server.executors.helpers import PATIENCE, ended

SILENT, PING_EVERY = 10.0, 2.5
"""Seconds without a sign of life after which a forkserver counts as stopped, and between two pings."""


_killed: set[int] = set()  # forkservers that this process has killed


def kill(pid: int) -> None:
    """SIGKILL to a forkserver, by the server itself."""
    _killed.add(pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Forkserver:
    """One forkserver process. Its ranks die with it, through no fault of their own.

    signal: the number of the one that has ended it, as far as that was seen in time; None if it exited.
    """

    def __init__(self, pid: int, address: str) -> None:
        self.pid, self.address = pid, address
        self.signal: int | None = None
        self._pidfd = os.pidfd_open(pid)
        weakref.finalize(self, os.close, self._pidfd)  # ranks of several groups hold on to it, each for its own time

    def alive(self) -> bool:
        """False once it has ended, reaped or not."""
        if not ended(self._pidfd):
            return True
        with contextlib.suppress(ChildProcessError):  # multiprocessing has reaped it and hides its status
            seen = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if seen is not None and seen.si_code != os.CLD_EXITED:
                self.signal = seen.si_status
        return False

    def wait(self, seconds: float = PATIENCE) -> None:
        """Return when it has ended, or after that time."""
        ended(self._pidfd, seconds)

    def after_end(self, loop: asyncio.AbstractEventLoop, seconds: float, call: Callable[[], None]) -> None:
        """Call that when it has ended, or after that time."""
        pidfd = os.dup(self._pidfd)  # each rank waits with its own

        def done() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            timer.cancel()
            call()

        timer = loop.call_later(seconds, done)
        loop.add_reader(pidfd, done)

    def killed_by(self, struck: Callable[[], bool]) -> int | None:
        """The signal by which somebody outside has killed it; None if nobody has, or it lives.

        struck: whether the kernel's out-of-memory killer was that.
        """
        if self.alive() or self.pid in _killed:
            return None
        if self.signal == signal.SIGKILL and struck():
            _killed.add(self.pid)
            return None
        return self.signal


class ForkserverWatch:
    """Whether the forkserver's loop still goes round. now: seconds that the watcher has run.

    Once it has started a rank, it is pinged: SIGCHLD has its loop look for dead children and wait again, which the
    kernel counts as one voluntary switch more. Forking a process would be as good a ping, and costs a hundred times as
    much. Before that it imports, for as long as that takes: then it only may not be stopped.
    """

    def __init__(self) -> None:
        self._pid: int | None = None
        self._waits = -1
        self._alive_at = self._look_at = 0.0

    def silent(self, pid: int | None, preloaded: bool, now: float) -> bool:
        """Whether it has shown no sign of life for SILENT seconds; pings it. pid: None if there is none."""
        if pid != self._pid:
            self._pid, self._waits, self._alive_at, self._look_at = pid, -1, now, now
        if pid is None or now < self._look_at:
            return False
        self._look_at = now + PING_EVERY
        state, waits = _state(pid)
        if waits != self._waits or state in "ZX" or not (preloaded or state in "Tt"):
            self._waits, self._alive_at = waits, now
        if preloaded and state not in "ZX":
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCHLD)
        return now - self._alive_at > SILENT


def _state(pid: int) -> tuple[str, int]:
    """The process's state, and how often it has gone to sleep: proc_pid_status(5)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return "X", -1
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return fields["State"][0], int(fields["voluntary_ctxt_switches"])


def end_unreachable(known: Forkserver | None) -> bool:
    """Kill a forkserver whose socket was removed, so that the next start makes another; whether there was one.

    Its ranks die with it: nobody can ask it for new ones any more.
    """
    state: Any = forkserver._forkserver
    if known is None or state._forkserver_pid != known.pid or Path(known.address).exists() or not known.alive():
        return False
    kill(known.pid)
    known.wait()
    return True


def latest(known: Forkserver | None) -> Forkserver | None:
    """The forkserver that has started the latest rank; `known` if it is still that one, alive.

    The socket that a forkserver before it has left is removed. Raises OSError if there is no descriptor to be had.
    """
    state: Any = forkserver._forkserver  # multiprocessing tells it nowhere else
    pid = state._forkserver_pid
    if pid is None or (known is not None and known.pid == pid and known.alive()):
        return known  # a dead one's pid may have come to its successor
    if known is not None and known.address != state._forkserver_address:
        Path(known.address).unlink(missing_ok=True)
    return Forkserver(pid, state._forkserver_address)
