"""multiprocessing's resource tracker: it unlinks the named semaphores and shared memory that dead ranks have left.

So it must outlive the ranks, and it ends when nobody holds its pipe any more. One that is stopped does not see that.
multiprocessing starts it, so it has no death signal from the controller. It carries a mark of its own instead, beside
the server's (helpers.py), by which the next start on the same state directory finds it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from multiprocessing import resource_tracker
from typing import Any

import structlog

from para_attn_server.executors.helpers import VARIABLE, ended, kill_marked

log = structlog.get_logger()
ENDS_WITHIN = 1.0
"""Seconds that it has to tidy up and to end by itself."""


def ensure_tracker(mark: str) -> None:
    """Have one that runs and carries its own mark. mark: the server's, which whatever is started later gets.

    Called before each launch, in the thread that launches: multiprocessing replaces one that has died, and the new one
    would get the server's mark, by which it would be killed before it has tidied up.
    """
    os.environ[VARIABLE] = _own(mark)
    try:
        resource_tracker.ensure_running()
    finally:
        os.environ[VARIABLE] = mark


def end_tracker() -> None:
    """Let this process's tracker end, now that all ranks have; kill it if it does not."""
    tracker: Any = resource_tracker._resource_tracker
    pipe, pid = tracker._fd, tracker._pid
    if pipe is None or pid is None:
        return
    tracker._fd = tracker._pid = None
    os.close(pipe)
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        pidfd = os.pidfd_open(pid)
        if not ended(pidfd, ENDS_WITHIN):
            log.warning("the resource tracker did not exit; killing it", pid=pid)
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
        os.waitpid(pid, 0)


def end_former_tracker(mark: str) -> None:
    """Kill the tracker that a dead server of this mark has left, if it does not end by itself."""
    if kill_marked(_own(mark), ENDS_WITHIN):
        log.warning("the resource tracker of an earlier server did not exit; killing it")


def _own(mark: str) -> str:
    return f"{mark}:tracker"  # not of the form of a rank's, which is the server's and a slash
