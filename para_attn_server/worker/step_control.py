"""Step control: rank zero decides at every step whether the run goes on, and all ranks follow that decision.

Ranks that each looked at a flag by themselves would leave at different steps and leave the others in a collective
for ever. So at control point k rank zero reads its orders and publishes the decision for point k on the step board;
the others wait for the decision of that same point. The same call is the heartbeat and the progress report.
"""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from para_attn_server.core.board import REFUSED_ENTRY, Decision, Phase, StepBoard
from para_attn_server.core.messages import FromRank, Log, Step

T = TypeVar("T")

_SPINS = 50
_SHORT_NAP, _LONG_NAP = 50e-6, 1e-3
_PATIENCE = 0.05  # seconds of short naps before long ones: a wait that long is not on the critical path
_REPORT_EVERY = 0.1  # seconds; of faster steps not each is worth waking the parent, which can read the board


class JobCanceled(BaseException):
    """The run is left on rank zero's decision. A BaseException, so that no `except Exception` swallows it."""


class RunRefused(Exception):
    """Some rank refused the arguments, or they differ between ranks; no collective has been entered."""


class Orders(Protocol):
    """Where rank zero learns of a cancel."""

    def canceled(self, serial: int) -> bool:
        """True once the parent has asked for that run to be left; never blocks."""


class StepControl:
    """One rank's side of the step board, for one run at a time; also what `Predictor.step` and `.log` reach.

    orders: rank zero's only; the other ranks pass None and follow. canceled: this rank has been told to leave the run.
    """

    def __init__(self, board: StepBoard, rank: int, orders: Orders | None, send: Callable[[FromRank], None]) -> None:
        self._board, self._rank, self._orders, self._send = board, rank, orders, send
        self._serial = 0
        self._reported_at = 0.0
        self.points = 0
        self.steps = 0
        self.canceled = False

    def enter(self, serial: int, entry: int) -> None:
        """Begin a run: compare the ranks' arguments before the first collective.

        entry: the digest of this rank's arguments, or REFUSED_ENTRY. Raises RunRefused on every rank unless all hold
        the same, JobCanceled if the run was canceled by now.
        """
        self._serial, self.points, self.steps, self.canceled, self._reported_at = serial, 0, 0, False, 0.0
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
        """A control point: `step` of `total` denoising steps are done. Raises JobCanceled on every rank alike.

        Both are any kind of integer (also a NumPy or torch scalar); raises TypeError for anything else.
        """
        step, total = operator.index(step), None if total is None else operator.index(total)
        self.steps = step
        self._board.report_step(self._rank, step, total)
        if self._orders is None:
            decision = self._follow()
        else:
            decision = self._decide(self._orders)
            self._tell(step, total)
        self._obey(decision)

    def log(self, text: str) -> None:
        """A line for the job's history, from rank zero. A lone surrogate in it becomes a question mark."""
        if self._rank == 0:
            self._send(Log(self._serial, str(text).encode(errors="replace").decode()))

    def canceled_late(self) -> bool:
        """Rank zero, after predict has returned: is the run to be dropped all the same?"""
        return self.canceled or (self._orders is not None and self._orders.canceled(self._serial))

    def alive(self) -> None:
        """A sign of life between two control points: predict has returned, and its output is being read."""
        self._board.report(self._rank, self._serial, self.points, Phase.PREDICT)

    def leave(self) -> None:
        """The run is over on this rank."""
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
        raise JobCanceled

    def _tell(self, step: int, total: int | None) -> None:
        now = time.monotonic()
        if now - self._reported_at >= _REPORT_EVERY:
            self._reported_at = now
            self._send(Step(self._serial, step, total))

    @staticmethod
    def _wait(ready: Callable[[], T | None]) -> T:
        """The first value that is not None. Unbounded on purpose: how long a step may take, and what to do with a group
        whose rank zero is gone, is the parent's to judge, and every rank dies with the parent."""
        for _ in range(_SPINS):
            if (value := ready()) is not None:
                return value
            os.sched_yield()
        patience_ends = time.monotonic() + _PATIENCE
        while (value := ready()) is None:
            time.sleep(_SHORT_NAP if time.monotonic() < patience_ends else _LONG_NAP)
        return value
