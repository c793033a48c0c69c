"""multiprocessing's forkserver, of which multiprocessing tells nothing: whether it lives, and what it leaves behind.

`latest` is for the thread that starts ranks. That thread alone reaps forkservers, so what it sees is theirs.
"""

from __future__ import annotations

import os
import weakref
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from para_attn_server.executors.helpers import PATIENCE, ended


class Forkserver:
    """One forkserver process. Its ranks die with it, which is no fault of theirs."""

    def __init__(self, pid: int, address: str) -> None:
        self.pid, self.address = pid, address
        self._pidfd = os.pidfd_open(pid)
        weakref.finalize(self, os.close, self._pidfd)  # ranks of several groups hold on to it, each for its own time

    def alive(self) -> bool:
        """False once it has ended, reaped or not."""
        return not ended(self._pidfd)

    def wait(self) -> None:
        """Return when it has ended, or after PATIENCE."""
        ended(self._pidfd, PATIENCE)


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
