"""A rank: the process that owns one device. Loads the predictor, then does what the controller's messages say.

Started by executors/local.py through the forkserver. One thread, and one for each output that rank zero writes
(writing.py): between jobs it sleeps in `recv`; during a job rank
zero polls its pipe at every step (step_control.py), so an order is never read in two places.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import gc
import json
import logging
import multiprocessing
import os
import platform
import select
import signal
import sys
import termios
import threading
from collections import deque
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist

from para_attn_server.core.arguments.model import compared_by_input
from para_attn_server.core.arguments.schema import request_schema
from para_attn_server.core.errors import UsageError
from para_attn_server.core.logs import configure_logging
from para_attn_server.core.predictor import Predictor, output_suffix
from para_attn_server.core.process import die_with_parent
from para_attn_server.core.signals import LOG_FD_VARIABLE
from para_attn_server.core.stray_output import adopt_loggers
from para_attn_server.core.wire.launch import CONTROLLER_VARIABLE, RankSpec
from para_attn_server.core.wire.ranks import (
    Cancel,
    FromRank,
    Ping,
    Pong,
    Ready,
    Run,
    Settle,
    Settled,
    SetupError,
    Stop,
    StopWriting,
)
from para_attn_server.core.wire.step_board import StepBoard
from para_attn_server.rank import hub, para_attn_compat, preload
from para_attn_server.rank.device import require_gpus, taken_device
from para_attn_server.rank.failures import full_text, plain_message
from para_attn_server.rank.hooks import check_steps
from para_attn_server.rank.loader import load_predictor
from para_attn_server.rank.predictor_checks import check_after_setup, check_before_setup
from para_attn_server.rank.quiet_bars import quiet_bars
from para_attn_server.rank.runner import JobRunner
from para_attn_server.rank.step_control import StepControl
from para_attn_server.rank.teardown import has_teardown, tear_down

para_attn_compat.install()  # before anything else can import para_attn; the forkserver imports this module first
log = logging.getLogger(__name__)
_PACKAGES = ("torch", "diffusers", "transformers", "para-attn")


class Link:
    """This rank's end of its pipe, for any of its threads; EOF means that the controller is gone, and the process ends.

    A process that a predictor has forked has no business on it: one that gets here ends.
    stop_writing: called with the serial of what is not to be written, as soon as that is read.
    """

    stop_writing: Callable[[int], None]

    def __init__(self, connection: Connection) -> None:
        self._connection, self._pid = connection, os.getpid()
        self._sending, self._reading = threading.Lock(), threading.Lock()
        self._unread: deque[Any] = deque()
        self._room = select.poll()
        self._room.register(connection.fileno(), select.POLLOUT)
        self._cancel: int | None = None

    def send(self, message: FromRank) -> None:
        """Tell the controller; messages of several threads follow each other whole."""
        self._in_the_rank()
        try:
            with self._sending:
                self._connection.send(message)
        except OSError:
            os._exit(1)

    def offer(self, message: FromRank) -> bool:
        """Tell the controller, if that can be done without waiting; whether it was done. For messages of up to 16 KiB.

        A socket that reports room has three quarters of its buffer free (unix_writable in the kernel's af_unix.c).
        """
        self._in_the_rank()
        if not self._sending.acquire(blocking=False):
            return False
        try:
            if not self._room.poll(0):
                return False
            self._connection.send(message)
            return True
        except OSError:
            os._exit(1)
        finally:
            self._sending.release()

    def idle(self) -> bool:
        """Whether the controller has taken all that was sent."""
        self._in_the_rank()
        return fcntl.ioctl(self._connection.fileno(), termios.TIOCOUTQ, bytes(4)) == bytes(4)

    def receive(self) -> Any:
        """The next message, however long it takes; None for EOF."""
        self._in_the_rank()
        with self._reading:
            return self._unread.popleft() if self._unread else self._read()

    def canceled(self, serial: int) -> bool:
        """Rank zero's orders; whatever comes beside a Cancel waits for `receive`."""
        if self._reading.acquire(blocking=False):  # else another thread reads, and will find it
            try:
                while self._connection.poll(0):
                    message = self._read()
                    if message is None:
                        os._exit(1)
                    if isinstance(message, Cancel):
                        self._cancel = message.serial
                    elif isinstance(message, StopWriting):
                        self.stop_writing(message.serial)
                    else:
                        self._unread.append(message)
            finally:
                self._reading.release()
        return self._cancel == serial

    def _read(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            return None

    def _in_the_rank(self) -> None:
        if os.getpid() != self._pid:
            os._exit(0)


def main(spec: RankSpec, connection: Connection, board_fd: int, stacks_fd: int, log_fd: int | None) -> None:
    """Entry point of the process. stacks_fd: file to which SIGUSR1 makes this rank write its threads' stacks.

    log_fd: where its log goes, if not to stderr.
    """
    _guard(spec, log_fd)
    faulthandler.register(signal.SIGUSR1, file=stacks_fd, all_threads=True, chain=False)
    pipe = Link(connection)
    board = StepBoard(board_fd, spec.of.num_ranks)
    try:
        predictor, runner = _set_up(spec, pipe, board)
        if spec.place.cores:  # this thread only: those that carry the collectives run wherever there is room
            os.sched_setaffinity(0, spec.place.cores)
        ready = _ready(spec, predictor, runner)
        gc.collect()
        gc.freeze()  # the model is never garbage: a collection during or after a job need not walk through it
    except BaseException as error:
        message = f"{type(error).__name__}: {plain_message(error)}"
        traceback = "" if isinstance(error, hub.ModelUnavailable) else full_text(error)
        pipe.send(SetupError(spec.rank, message, traceback, isinstance(error, UsageError)))
        os._exit(1)
    pipe.send(ready)
    if _serve(spec, pipe, runner):
        tear_down(predictor)
    _leave()


def _guard(spec: RankSpec, log_fd: int | None) -> None:
    if preload.forkserver_pid is None:
        raise SystemExit("a rank must be forked from the forkserver with the preload module: it guards against orphans")
    die_with_parent(preload.forkserver_pid)
    os.setpgid(0, 0)  # killed as one, with the helpers that a predictor may start
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # How this rank was started is no matter of the predictor's: with another method than the platform's own, locks that
    # libraries make at import (tqdm) have names in /dev/shm, which a killed process leaves behind.
    multiprocessing.set_start_method(None, force=True)
    for variable in (CONTROLLER_VARIABLE, LOG_FD_VARIABLE):
        os.environ.pop(variable, None)  # a helper that imports this package is no forkserver
    os.environ.update(spec.environment())
    name = f"group {spec.of.group} rank {spec.rank}"
    configure_logging(spec.of.log_level, spec.of.log_format, name, log_fd, foreign=True)
    if spec.place.threads:
        torch.set_num_threads(spec.place.threads)


def _set_up(spec: RankSpec, pipe: Link, board: StepBoard) -> tuple[Any, JobRunner]:
    require_gpus(spec)
    predictor = load_predictor(spec.of.model)
    check_before_setup(predictor)
    if spec.rank == 0:
        hub.check(getattr(predictor, "model_path", None))
    quiet_bars()
    predictor.setup()
    quiet_bars()
    if spec.of.log_format == "json":
        adopt_loggers()  # of what setup() has imported
    model = check_after_setup(predictor, spec.of.num_ranks)
    if spec.rank == 0 and (as_they_come := compared_by_input(model)):
        log.info("arguments not representable in JSON; ranks compare them as sent: %s", ", ".join(as_they_come))
    control = StepControl(board, spec.rank, pipe if spec.rank == 0 else None, pipe.send, pipe.offer, pipe.idle)
    if predictor.pipe is not None:
        check_steps(predictor.pipe)
    if isinstance(predictor, Predictor):
        predictor._reporter = control
    runner = JobRunner(predictor, model, control, spec.rank, pipe.send, spec.of.max_pixels)
    pipe.stop_writing = runner.writer.stop
    return predictor, runner


def _ready(spec: RankSpec, predictor: Any, runner: JobRunner) -> Ready:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return Ready(
        rank=spec.rank,
        device=taken_device(spec),
        schema=json.loads(json.dumps(request_schema(runner.model))) if spec.rank == 0 else None,
        versions=versions,
        output_suffix=str(output_suffix(predictor)),
        tears_down=has_teardown(predictor),
    )


def _serve(spec: RankSpec, pipe: Link, runner: JobRunner) -> bool:
    """Do what comes; whether the end is an orderly one."""
    while True:
        message = pipe.receive()
        if message is None or isinstance(message, Stop):
            return message is not None
        if isinstance(message, Run):
            runner.run(message)
        elif isinstance(message, StopWriting):
            pipe.stop_writing(message.serial)
        elif isinstance(message, Ping):
            pipe.send(Pong(spec.rank))
        elif isinstance(message, Settle):
            connected = runner.connected
            if connected and dist.is_initialized():
                dist.barrier()
            pipe.send(Settled(message.serial, spec.rank, connected))
        # a Cancel that comes here is late: its run has ended


def _leave() -> None:
    """End without running interpreter shutdown, which may hang in a native library's threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
