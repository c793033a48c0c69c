"""Helpers of ranks: processes that a predictor starts, found by a mark in their environment, and ended.

A helper inherits the environment of its rank. The mark in it stays when the helper leaves the rank's process group and
session, and whoever adopts it after the rank's death. A server's mark is made of the lock file of its state directory,
so that whoever holds the lock knows each process that carries the mark for what a dead server has left; its ranks add
a number of their own.

Not found: a helper that was started with another environment or as another user. One that was forked and executes no
other program shows its forkserver's environment, so it is found by the server's mark and not by its rank's.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "PARA_ATTN_STARTED_BY"
PATIENCE = 5.0
"""Seconds that killed helpers have to end; a process that the kernel holds up is not waited for any longer."""


def server_mark(lock: Path) -> str:
    """The mark of the server that holds this file locked."""
    status = lock.stat()
    return f"{status.st_dev}:{status.st_ino}"


def ended(pidfd: int, seconds: float = 0.0) -> bool:
    """True if the process ends within that time, whether it is reaped or not."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))


def kill_marked(mark: str, grace: float = 0.0) -> int:
    """SIGKILL to all processes that carry the mark, or that of a rank of its server; this process is spared.

    grace: seconds that they have to end by themselves. Returns how many did not, when they and what they have started
    meanwhile have ended, or after PATIENCE.
    """
    entry = f"{VARIABLE}={mark}".encode()
    kill_at = time.monotonic() + grace
    seen: set[str] = set()
    killed = 0
    while found := _find(entry) - seen:
        with _pidfds(found, entry) as opened:
            pidfds = [pidfd for pidfd in opened if not ended(pidfd, kill_at - time.monotonic())]
            for pidfd in pidfds:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            for pidfd in pidfds:
                ended(pidfd, kill_at + PATIENCE - time.monotonic())
        seen |= found
        killed += len(pidfds)
    return killed


def _find(entry: bytes) -> set[str]:
    names = {folder.name for folder in Path("/proc").iterdir() if folder.name.isdigit()}
    return {name for name in names - {str(os.getpid())} if _carries(name, entry)}


def _carries(name: str, entry: bytes) -> bool:
    try:
        environment = Path("/proc", name, "environ").read_bytes()
    except OSError:  # it has ended, or is another user's
        return False
    return any(each == entry or each.startswith(entry + b"/") for each in environment.split(b"\0"))


@contextlib.contextmanager
def _pidfds(names: set[str], entry: bytes) -> Iterator[list[int]]:
    """A pidfd of each process that still carries the mark.

    It is looked at again once the pidfd is there: what the pidfd stands for either carries the mark, or has ended.
    """
    pidfds = []
    with contextlib.ExitStack() as opened:
        for name in names:
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(int(name))
                opened.callback(os.close, pidfd)
                pidfds += [pidfd] * _carries(name, entry)
        yield pidfds
