"""Ranks as processes of this machine, forked from a forkserver that has torch and diffusers imported.

A thread of its own starts the processes: starting one waits for the forkserver, whose first start takes seconds, and
the controller's loop never waits. The thread lives as long as the controller, because the death signal that guards the
forkserver fires when the thread that started it ends. Watching and talking is done on the controller's loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import multiprocessing
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import structlog

from para_attn_server.core.errors import UsageError
from para_attn_server.core.process import leave_removed_folder
from para_attn_server.core.stray_output import log_fds
from para_attn_server.core.wire.launch import CONTROLLER_VARIABLE, PRELOAD_VARIABLE, GroupSpec, RankSpec, leave_launcher
from para_attn_server.executors.base import ExecutorOptions, RankEvents, RankHandle
from para_attn_server.executors.forkserver import Forkserver, ForkserverWatch, end_unreachable, kill, latest
from para_attn_server.executors.helpers import VARIABLE, kill_marked, server_mark
from para_attn_server.executors.launch import LocalLaunch
from para_attn_server.executors.loading import Loading, LoadingReports
from para_attn_server.executors.oom import OomKills
from para_attn_server.executors.placement import Placement
from para_attn_server.executors.rank_process import STARTER_ENDS_WITHIN, RankProcess
from para_attn_server.executors.started import StartedRank, end, keep_exit_status, open_pidfd
from para_attn_server.executors.tracker import end_former_tracker, end_tracker, ensure_tracker

log = structlog.get_logger()
LOOK_EVERY = 1.0
"""Seconds between two reads of the `oom_kill` counter."""
_PRELOAD = "para_attn_server.rank.preload"


def preloaded(preload: str) -> str:
    """The setting, and this module, through which each rank is started: what it imports would cost every restart."""
    return f"{__name__},{preload}"


class LocalExecutor:
    """Starts and watches ranks on this machine; one per controller. Raises UsageError if there are too few GPUs."""

    def __init__(self, options: ExecutorOptions) -> None:
        self._placement, self._preload = Placement(options), options.preload
        self.ranks = self._placement.ranks

    def start(self, loop: asyncio.AbstractEventLoop, lock: Path) -> None:
        """Make ready what starts ranks. lock: see helpers.py."""
        self._loop = loop
        self._mark, self._numbers = server_mark(lock), itertools.count()
        _kill_helpers(self._mark)  # of a server before, and first of all: the web carries the mark too
        end_former_tracker(self._mark)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([_PRELOAD])
        leave_launcher(os.environ)
        os.environ[CONTROLLER_VARIABLE] = str(os.getpid())
        os.environ[PRELOAD_VARIABLE] = preloaded(self._preload)
        ensure_tracker(self._mark)
        os.environ.setdefault("TQDM_DISABLE", "1")  # progress bars of several ranks make a log unreadable
        self._forkserver: Forkserver | None = None
        self._watch = ForkserverWatch()
        self._oom_kills = OomKills()
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="launcher", daemon=True)
        self._thread.start()
        self._looking = loop.call_soon(self._look)
        self._aborted = False  # the launch that is under way
        self._starting: dict[int, Loading] = {}  # by group: launches that wait for the launcher's thread
        self._ranks: list[RankProcess] = []  # that may still be loading
        self._reports = LoadingReports(loop, self._find_loading)

    def _look(self) -> None:
        self._oom_kills.look()
        self._looking = self._loop.call_later(LOOK_EVERY, self._look)

    def tick(self, now: float) -> None:
        """Kill a forkserver that is stopped or hangs: a start that waits for it ends, and the groups are rebuilt.

        now: seconds that the controller has run.
        """
        pid, known = forkserver._forkserver._forkserver_pid, self._forkserver  # type: ignore[attr-defined]
        if self._watch.silent(pid, known is not None and known.pid == pid, now):
            log.error("the forkserver shows no sign of life; killing it", pid=pid)
            self.abort_launch()

    def _bury(self, mark: str) -> None:
        """Kill what carries the mark, in the launcher's thread and so before the next launch."""
        self._orders.put(partial(_kill_helpers, mark))

    def launch(self, generation: int, spec: GroupSpec, events: RankEvents) -> None:
        """Start one rank per spec, in the launcher's thread."""
        launch = LocalLaunch(generation, self._placement.rank_specs(spec), events)
        self._starting[spec.group] = Loading("ranks are being started", {"group": spec.group}, None, time.monotonic())
        self._reports.begin()
        self._orders.put(lambda: self._launch(launch))

    def abort_launch(self) -> None:
        """Kill the forkserver: a start that waits for it ends, and a new one takes its place."""
        self._aborted = True
        pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
        if pid is not None:
            kill(pid)

    def close(self) -> None:
        """End the launcher's thread, after what it has begun, and all that is left of the ranks, the forkserver too."""
        self._looking.cancel()
        self._reports.close()
        self._orders.put(self._end)
        self._orders.put(None)
        self._thread.join(timeout=10)

    def _end(self) -> None:
        """In the launcher's thread: the forkserver first, which carries the mark and is no helper of a rank."""
        self.abort_launch()
        if self._forkserver is not None:
            self._forkserver.wait()
        _kill_helpers(self._mark)
        end_tracker()

    def _find_loading(self) -> list[Loading]:
        self._ranks = [rank for rank in self._ranks if rank.loading is not None]
        pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]  # what their start waits for
        starting = [replace(one, pid=pid) for one in list(self._starting.values())]
        return starting + [loading for rank in self._ranks if (loading := rank.loading) is not None]

    def _work(self) -> None:
        # A terminal's Ctrl-C must not reach a forkserver that has not left the terminal's group yet (preload.py).
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while (order := self._orders.get()) is not None:
            order()

    def _launch(self, launch: LocalLaunch) -> None:
        started: list[StartedRank] = []
        self._aborted = False
        try:
            for spec in launch.specs:
                started.append(self._start(spec, launch.steps.fd))
                if started[-1].forkserver is not started[0].forkserver:
                    raise OSError("the forkserver died between two starts")
        except Exception as error:
            self._give_up(launch, started, error)
        else:
            self._loop.call_soon_threadsafe(self._adopt, launch, started)
        finally:
            self._starting.pop(launch.group, None)

    def _give_up(self, launch: LocalLaunch, started: list[StartedRank], error: Exception) -> None:
        """In the launcher's thread: a launch has failed; what was started of it is killed."""
        say = log.debug if self._aborted else log.warning  # whoever has ended it says why
        say("ranks could not be started", error=repr(error))
        for rank in started:
            rank.discard()
        with contextlib.suppress(OSError):
            self._forkserver = latest(self._forkserver)
        starter = started[0].forkserver if started else self._forkserver
        if starter is not None and isinstance(error, EOFError | ConnectionError):
            starter.wait(STARTER_ENDS_WITHIN)  # its end of the pipe is closed a moment before
        self._loop.call_soon_threadsafe(self._tell_failure, launch, error, starter)

    def _tell_failure(self, launch: LocalLaunch, error: Exception, starter: Forkserver | None) -> None:
        reason = f"ranks could not be started ({type(error).__name__})"
        own_fault = not isinstance(
            error, EOFError | OSError
        )  # else the forkserver died, or the controller lacks something
        killed_by = None if own_fault or starter is None else starter.killed_by(self._oom_kills.take)
        launch.failed(reason, own_fault, killed_by in (signal.SIGKILL, signal.SIGTERM))

    def _start(self, spec: RankSpec, board: int) -> StartedRank:
        mark = f"{self._mark}/{next(self._numbers)}"
        with contextlib.ExitStack() as undo:
            ours, theirs = socket.socketpair()
            undo.callback(ours.close)
            stacks = os.memfd_create("para-attn-server-stacks")
            undo.callback(os.close, stacks)
            fcntl.fcntl(stacks, fcntl.F_SETFL, os.O_APPEND)  # both processes share one position in it
            process = self._context.Process(
                target=_rank_main,
                args=(spec, mark, Connection(theirs.detach()), SharedFd(board), SharedFd(stacks), _shared_log()),
                name=f"group-{spec.of.group}-rank-{spec.rank}",
            )
            if self._forkserver is not None:
                self._forkserver.alive()  # sees how it has ended, before multiprocessing reaps it
            if end_unreachable(self._forkserver):
                log.warning("the forkserver's socket is missing; starting a new forkserver")
            if leave_removed_folder():
                log.warning("the working folder was removed; ranks start in / from now on")
            ensure_tracker(self._mark)
            process.start()
            keep_exit_status(process)
            undo.callback(end, process)
            self._forkserver = latest(self._forkserver)
            assert self._forkserver is not None
            started = StartedRank(process, ours, stacks, open_pidfd(process), self._forkserver, mark)
            undo.pop_all()
        return started

    def _adopt(self, launch: LocalLaunch, started: list[StartedRank]) -> None:
        ranks = [
            RankProcess(self._loop, launch, rank, each, self._oom_kills, partial(self._bury, each.mark))
            for rank, each in enumerate(started)
        ]
        try:
            for rank in ranks:
                rank.watch()
        except OSError as error:
            for rank in ranks:
                rank.forget()
            self._orders.put(partial(self._give_up, launch, started, error))
            return
        for rank in ranks:
            rank.connect()
        self._ranks += ranks
        self._reports.begin()
        launch.launched(list[RankHandle](ranks))


def open_executor(place: str, options: ExecutorOptions) -> LocalExecutor:
    """The one of this machine."""
    if place:
        raise UsageError(f"executor: local has no places; leave out {place!r}")
    return LocalExecutor(options)


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
        log.warning("killed processes that dead ranks had left", count=count)


def _shared_log() -> SharedFd | None:
    return next(map(SharedFd, log_fds()), None)


def _rank_main(
    spec: RankSpec, mark: str, connection: Connection, board: SharedFd, stacks: SharedFd, log_to: SharedFd | None
) -> None:
    """Runs in the rank: what it imports, the controller must not."""
    os.environ[VARIABLE] = mark
    from para_attn_server.rank.main import main

    main(spec, connection, board.fd, stacks.fd, None if log_to is None else log_to.fd)
