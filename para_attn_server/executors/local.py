"""Ranks as processes of this machine, forked from a forkserver that has torch and diffusers imported.

A thread of its own starts the processes: starting one waits for the forkserver, whose first start takes seconds, and
the daemon's loop never waits. The thread lives as long as the daemon, because the death signal that guards the
forkserver fires when the thread that started it ends. Watching and talking is done on the daemon's loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import multiprocessing
import os
import queue
import select
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import structlog

from para_attn_server.core.launch import PARENT_VARIABLE, PRELOAD_VARIABLE, RankSpec
from para_attn_server.executors.base import RankEvents, RankHandle
from para_attn_server.executors.helpers import VARIABLE, kill_marked, server_mark
from para_attn_server.executors.oom import OomKills
from para_attn_server.executors.rank_process import RankProcess

log = structlog.get_logger()
LOOK_EVERY = 1.0
"""Seconds between two looks at the count of the out-of-memory killer."""
_PRELOAD = "para_attn_server.worker.preload"

Started = tuple[Any, socket.socket, int, str]
"""A process, the parent's end of its pipe, the file that its stacks are written to, and the mark of its helpers."""


class LocalExecutor:
    """Starts and watches ranks on this machine; one per daemon.

    preload: modules for the forkserver, by commas. lock: the locked file of the state directory (see helpers.py).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, preload: str, lock: Path) -> None:
        self._loop = loop
        self._mark, self._numbers = server_mark(lock), itertools.count()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([_PRELOAD])
        os.environ[PARENT_VARIABLE] = str(os.getpid())
        os.environ[PRELOAD_VARIABLE] = preload
        resource_tracker.ensure_running()  # before the mark is set: it has to tidy up after what is killed by the mark
        os.environ[VARIABLE] = self._mark
        os.environ.setdefault("TQDM_DISABLE", "1")  # progress bars of several ranks make a log unreadable
        self._forkserver = ForkserverWatch()
        self._oom_kills = OomKills()
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="launcher", daemon=True)
        self._thread.start()
        self._bury(self._mark)
        self._looking = loop.call_soon(self._look)

    def _look(self) -> None:
        self._oom_kills.look()
        self._looking = self._loop.call_later(LOOK_EVERY, self._look)

    def _bury(self, mark: str) -> None:
        """Kill what carries the mark, in the launcher's thread and so before the next launch."""
        self._orders.put(partial(_kill_helpers, mark))

    def launch(self, generation: int, specs: list[RankSpec], board_fd: int, events: RankEvents) -> None:
        """Start one rank per spec, in the launcher's thread."""
        board = os.dup(board_fd)
        self._orders.put(lambda: self._launch(generation, specs, board, events))

    def abort_launch(self) -> None:
        """Kill the forkserver: a start that waits for it ends, and a new one takes its place."""
        pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """End the launcher's thread, after what it has begun, and all that is left of the ranks, the forkserver too."""
        self._looking.cancel()
        self._bury(self._mark)
        self._orders.put(None)
        self._thread.join(timeout=10)

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            order()

    def _launch(self, generation: int, specs: list[RankSpec], board: int, events: RankEvents) -> None:
        started: list[Started] = []
        try:
            for spec in specs:
                started.append(self._start(spec, board))
        except Exception as error:
            log.warning("ranks could not be started", group=specs[0].group, error=repr(error))
            for process, ours, stacks, mark in started:
                process.kill()
                process.join()
                _kill_helpers(mark)
                ours.close()
                os.close(stacks)
            reason = f"ranks could not be started ({type(error).__name__})"
            own_fault = not isinstance(error, EOFError | OSError)  # else the forkserver died on the way
            self._loop.call_soon_threadsafe(events.launch_failed, generation, reason, own_fault)
        else:
            self._loop.call_soon_threadsafe(self._adopt, generation, started, events)
        finally:
            os.close(board)

    def _start(self, spec: RankSpec, board: int) -> Started:
        ours, theirs = socket.socketpair()
        stacks = os.memfd_create("para-attn-server-stacks")
        mark = f"{self._mark}/{next(self._numbers)}"
        fcntl.fcntl(stacks, fcntl.F_SETFL, os.O_APPEND)  # both processes share one position in it
        try:
            process = self._context.Process(
                target=_rank_main,
                args=(spec, mark, Connection(theirs.detach()), SharedFd(board), SharedFd(stacks)),
                name=f"group-{spec.group}-rank-{spec.rank}",
            )
            process.start()
        except BaseException:
            ours.close()
            os.close(stacks)
            raise
        return process, ours, stacks, mark

    def _adopt(self, generation: int, started: list[Started], events: RankEvents) -> None:
        self._forkserver.look()
        watched = (events, self._forkserver.alive, self._oom_kills)
        handles: list[RankHandle] = [
            RankProcess(self._loop, generation, rank, process, ours, stacks, *watched, partial(self._bury, mark))
            for rank, (process, ours, stacks, mark) in enumerate(started)
        ]
        events.launched(generation, handles)


class ForkserverWatch:
    """Whether the forkserver lives: ranks that die with it have died through no fault of their own."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._pidfd = -1

    def look(self) -> None:
        """Find the forkserver that has started the latest ranks."""
        pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]  # multiprocessing tells it nowhere else
        if pid is None or pid == self._pid:
            return
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._pid, self._pidfd = pid, -1
        with contextlib.suppress(ProcessLookupError):
            self._pidfd = os.pidfd_open(pid)

    def alive(self) -> bool:
        """False once it has ended, reaped or not."""
        return self._pidfd >= 0 and not select.select([self._pidfd], [], [], 0)[0]


class SharedFd:
    """A file descriptor that travels to a process as it is started; the copy there is a new descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (DupFd(self.fd),)


def _received(duplicate: Any) -> SharedFd:
    return SharedFd(duplicate.detach())


def _kill_helpers(mark: str) -> None:
    if count := kill_marked(mark):
        log.warning("processes that dead ranks have left were killed", count=count)


def _rank_main(spec: RankSpec, mark: str, connection: Connection, board: SharedFd, stacks: SharedFd) -> None:
    """Runs in the rank: what it imports, the parent must not."""
    os.environ[VARIABLE] = mark
    from para_attn_server.worker.rank import main

    main(spec, connection, board.fd, stacks.fd)
