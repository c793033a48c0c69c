"""Step control: rank zero decides at every step whether the run goes on, and all ranks follow that decision.

Ranks that each looked at a flag by themselves would leave at different steps and leave the others in a collective
for ever. So at control point k rank zero reads its orders and publishes the decision for point k on the step board;
the others wait for the decision of that same point. The same call is the heartbeat and the progress report.

Only the run's own threads are followed (threads.py): a thread that an earlier job has left behind steps on one rank
alone, and would take this rank out of step with the others.
"""

from __future__ import annotations

import logging
import operator
import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from para_attn_server.core.emitted import TooLarge, checked
from para_attn_server.core.wire.ranks import FromRank, Step
from para_attn_server.core.wire.step_board import REFUSED_ENTRY, Decision, Phase, StepBoard
from para_attn_server.rank.account import RunAccount
from para_attn_server.rank.emitter import Emitter
from para_attn_server.rank.job_log import JobLog
from para_attn_server.rank.outputs import RunOutputs
from para_attn_server.rank.threads import RunThreads

log = logging.getLogger(__name__)
T = TypeVar("T")

_SPINS = 50
_SHORT_NAP, _LONG_NAP = 50e-6, 1e-3
_PATIENCE = 0.05  # seconds of short naps before long ones: a wait that long is not on the critical path
_REPORT_EVERY = 0.1  # seconds; of faster steps not each is worth waking the controller, which can read the board


class RunCanceled(BaseException):
    """The run is left on rank zero's decision. A BaseException, so that no `except Exception` swallows it."""


class RunRefused(Exception):
    """Some rank refused the arguments, or they differ between ranks; no collective has been entered."""


class _RunOver(Exception):
    """The run ended while a thread of its own waited at a control point."""


class Orders(Protocol):
    """Where rank zero learns of a cancel."""

    def canceled(self, serial: int) -> bool:
        """True once the controller has asked for that run to be left; never blocks."""


class StepControl:
    """One rank's side of the step board, for one run at a time; also what a predictor's calls reach.

    orders: rank zero's only; the other ranks pass None and follow. send: to the controller, waiting where it must.
    offer: the same, unless that has to wait; says whether it was sent. idle: whether all that was sent has been taken.
    canceled: this rank has been told to leave the run.
    """

    def __init__(
        self,
        board: StepBoard,
        rank: int,
        orders: Orders | None,
        send: Callable[[FromRank], None],
        offer: Callable[[FromRank], bool] | None = None,
        idle: Callable[[], bool] = lambda: True,
    ) -> None:
        self._board, self._rank, self._orders = board, rank, orders
        self._offer = offer or _always(send)
        self._log = JobLog(self._offer, send)
        self._emitter = Emitter(self._offer, send, idle)
        self._threads, self._lock = RunThreads(), threading.Lock()
        self._warned: set[str] = set()
        self._thread = 0
        self._serial = 0
        self._reported_at = 0.0
        self._total: int | None = None
        self._counted_by_hand = False
        self.points = 0
        self.steps = 0
        self.canceled = False
        self.account = RunAccount()
        self.outputs: RunOutputs | None = None

    @property
    def num_ranks(self) -> int:
        """Of the group."""
        return self._board.num_ranks

    def enter(self, serial: int, entry: int) -> None:
        """Begin a run on this thread: compare the ranks' arguments before the first collective.

        entry: the digest of this rank's arguments, or REFUSED_ENTRY. Raises RunRefused on every rank unless all hold
        the same, RunCanceled if the run was canceled by now.
        """
        with self._lock:
            self._serial, self.points, self.steps, self.canceled, self._reported_at = serial, 0, 0, False, 0.0
            self._total, self._counted_by_hand, self.account = None, False, RunAccount()
            self._threads.begin()
        self._thread = threading.get_ident()
        self._log.begin(serial)
        self._emitter.begin(serial)
        self._board.report_step(self._rank, 0, None)
        self._board.enter(self._rank, serial, entry)
        if self._orders is None:
            self._obey(self._follow())
            return
        entries = {self._wait(partial(self._board.entry, rank, serial)) for rank in range(self._board.num_ranks)}
        if len(entries) > 1 or REFUSED_ENTRY in entries:
            self._obey(self._publish(Decision.REFUSE))
        self._obey(self._decide(self._orders))

    def step(self, step: int, total: int | None) -> None:
        """A control point of the predictor's own: `step` of `total` denoising steps are done.

        Raises RunCanceled on every rank alike. Does nothing in a thread that is not the run's.
        Both are any kind of integer (also a NumPy or torch scalar); raises TypeError for anything else.
        """
        step, total = _counts(step, total)
        with self._lock:
            if self.allows("self.step"):
                self._counted_by_hand = True
                self._pass_point(step, total)

    def pipeline_step(self, step: int, total: int | None) -> None:
        """The same for a step of a pipeline that predict calls; where predict counts by hand, its numbers stay."""
        step, total = _counts(step, total)
        with self._lock:
            if self.allows("self.step"):
                self._pass_point(*(self.steps, self._total) if self._counted_by_hand else (step, total))

    def log(self, text: object) -> None:
        """A line for the job's log, from rank zero; on any rank a sign of life of predict's own thread. Never waits."""
        if self.allows("self.log"):
            if threading.get_ident() == self._thread:
                self._board.report_line(self._rank)
            if self._rank == 0:
                self._log.add(text)

    def emit(self, kind: str, data: Any) -> None:
        """A live event of the job, from rank zero; checked on every rank alike. A sign of life, as a line is."""
        if not self.allows("self.emit"):
            return
        try:
            event = checked(kind, data)
        except TooLarge as error:  # a picture that happens to be large is no reason to fail a job
            self._emitter.drop()
            self.log(f"{error}; it is dropped")
            return
        if threading.get_ident() == self._thread:
            self._board.report_line(self._rank)
        if self._rank == 0:
            self._emitter.add(event)

    def report(self, values: Mapping[str, Any]) -> None:
        """What was really used, by name; the same on every rank."""
        if self.allows("self.report"):
            self.account.report(values)

    def output_path(self, suffix: str | None, role: str) -> Path:
        """Where one more output of the job is to be written. Raises RuntimeError outside a run."""
        if self.outputs is None or not self.allows("self.output_path"):
            raise RuntimeError("self.output_path() was called outside the run of a job")
        return self.outputs.another(suffix, role)

    def allows(self, call: str) -> bool:
        """Whether the calling thread is the one that runs predict, or was started in this run; warns once if not."""
        if self._threads.belongs():
            return True
        if call not in self._warned:
            self._warned.add(call)
            log.warning(
                "call from outside the run ignored: only the thread of predict, and threads that it starts in this "
                "run, can step, log, emit, report or name outputs",
                extra={"call": call, "from_thread": threading.current_thread().name},
            )
        return False

    def returned(self) -> None:
        """Predict has returned on this rank, or raised: what its threads do from now on no longer counts."""
        self._threads.end()
        with self._lock:  # a thread that waits at a control point has left it
            pass
        self._emitter.end()
        self._log.end()

    def _pass_point(self, step: int, total: int | None) -> None:
        self.steps, self._total = step, total
        self.account.stepped()
        self._board.report_step(self._rank, step, total)
        try:
            decision = self._follow() if self._orders is None else self._decide(self._orders)
        except _RunOver:
            return
        if self._orders is not None:
            self._tell(step, total)
        self._obey(decision)

    def canceled_late(self) -> bool:
        """Rank zero, after predict has returned: is the run to be dropped all the same?"""
        return self.canceled or (self._orders is not None and self._orders.canceled(self._serial))

    def alive(self) -> None:
        """A sign of life between two control points: predict has returned, and its output is being read."""
        self._board.report(self._rank, self._serial, self.points, Phase.PREDICT)

    def leave(self) -> None:
        """The run is over on this rank."""
        self.returned()
        self._board.report(self._rank, self._serial, self.points, Phase.LEFT)

    def _decide(self, orders: Orders) -> Decision:
        return self._publish(Decision.CANCEL if orders.canceled(self._serial) else Decision.GO)

    def _publish(self, decision: Decision) -> Decision:
        self._board.decide(self._serial, self.points, decision)
        return decision

    def _follow(self) -> Decision:
        self._board.report(self._rank, self._serial, self.points, Phase.WAITING)
        return self._wait(lambda: self._board.decision(self._serial, self.points) or None)

    def _obey(self, decision: Decision) -> None:
        if decision is Decision.GO:
            self.points += 1
            self._board.report(self._rank, self._serial, self.points, Phase.PREDICT)
            return
        if decision is Decision.REFUSE:
            raise RunRefused
        self.canceled = True
        raise RunCanceled

    def _tell(self, step: int, total: int | None) -> None:
        now = time.monotonic()
        if now - self._reported_at >= _REPORT_EVERY and self._offer(Step(self._serial, step, total)):
            self._reported_at = now  # else the controller reads it from the board

    def _wait(self, ready: Callable[[], T | None]) -> T:
        """The first value that is not None. Unbounded on purpose: how long a step may take, and what to do with a group
        whose rank zero is gone, is the controller's to judge, and every rank dies with the controller. Raises _RunOver
        in a thread whose run ends meanwhile."""
        for _ in range(_SPINS):
            if (value := ready()) is not None:
                return value
            os.sched_yield()
        patience_ends = time.monotonic() + _PATIENCE
        while (value := ready()) is None:
            if not self._threads.belongs():
                raise _RunOver
            time.sleep(_SHORT_NAP if time.monotonic() < patience_ends else _LONG_NAP)
        return value


def _always(send: Callable[[FromRank], None]) -> Callable[[FromRank], bool]:
    """An offer that waits."""

    def offer(message: FromRank) -> bool:
        send(message)
        return True

    return offer


def _counts(step: int, total: int | None) -> tuple[int, int | None]:
    """Both as integers, which the step board can hold."""
    step, total = operator.index(step), None if total is None else operator.index(total)
    if not all(-(2**63) <= number < 2**63 for number in (step, total or 0)):
        raise ValueError(f"step {step} of {total} was reported: both must be less than 2**63")
    return step, total
