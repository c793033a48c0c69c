"""A rank's process just after its start: what the controller holds of it, before anybody follows it."""

from __future__ import annotations

import contextlib
import multiprocessing.process
import os
import signal
import socket
from dataclasses import dataclass
from typing import Any

from para_attn_server.executors.forkserver import Forkserver
from para_attn_server.executors.helpers import ended, kill_marked

PATIENCE = 5.0
"""Seconds that a killed process is waited for."""


@dataclass(slots=True, eq=False)
class StartedRank:
    """process: multiprocessing's. socket: the controller's end of its pipe. stacks_fd: the file of its stacks.

    pidfd: -1 if it had ended before one could be had. mark: of its helpers (helpers.py).
    """

    process: Any
    socket: socket.socket
    stacks_fd: int
    pidfd: int
    forkserver: Forkserver
    mark: str

    def discard(self) -> None:
        """Kill it, wait for it, let go of everything. Blocks; not for the loop."""
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            ended(self.pidfd, PATIENCE)
            os.close(self.pidfd)
        kill_marked(self.mark)
        self.socket.close()
        os.close(self.stacks_fd)
        self.process.join(timeout=0.05)
        with contextlib.suppress(ValueError):  # its exit status never came
            self.process.close()


def open_pidfd(process: Any) -> int:
    """A pidfd of a process that has just been started; -1 if it has already ended. Raises OSError."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return -1
    if process.exitcode is None:  # so it was not reaped before, and its pid was still its own
        return pidfd
    os.close(pidfd)
    return -1


def end(process: Any) -> None:
    """Kill a process that has just been started, and for which no pidfd was to be had."""
    if process.exitcode is None:
        process.kill()
        process.join(timeout=PATIENCE)


def keep_exit_status(process: Any) -> None:
    """Have multiprocessing forget a process that it has started.

    Each start of a process polls all earlier ones. It would do so in the launcher's thread, and read the exit status
    that the loop is about to read: it comes once.
    """
    multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]
