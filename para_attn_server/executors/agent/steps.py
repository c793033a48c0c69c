"""The steps of ranks elsewhere: the agent reports what has changed on its board, and the controller keeps the last.

Moments travel as ages, since the machines' clocks differ. An age is sent with a new moment only: made into a moment
again it is never quite the same, and would look like a sign of life.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from para_attn_server.core.wire.step_board import Phase, Progress
from para_attn_server.executors.agent.wire import StepReport
from para_attn_server.executors.base import StepChannel

_NOTHING = Progress(0, 0, Phase.IDLE, 0.0, 0, None)


class StepReporter:
    """The agent's end, for the ranks of one launch."""

    def __init__(self, group: int, generation: int, num_ranks: int, steps: StepChannel) -> None:
        self._names, self._steps = (group, generation), steps
        self._reported = [_NOTHING] * num_ranks

    def changes(self) -> Iterator[StepReport]:
        """What is new since the last call."""
        for rank, before in enumerate(self._reported):
            seen = self._steps.progress(rank)
            if seen != before:
                self._reported[rank] = seen
                yield StepReport(
                    *self._names,
                    rank,
                    seen.serial,
                    seen.points,
                    seen.phase,
                    seen.step,
                    seen.total,
                    _age(seen.heartbeat, before.heartbeat),
                    _age(seen.logged, before.logged),
                )


class ReportedSteps:
    """The controller's end: the step channel of one launch."""

    def __init__(self, num_ranks: int) -> None:
        self._ranks = [_NOTHING] * num_ranks

    def progress(self, rank: int) -> Progress:
        return self._ranks[rank]

    def take(self, report: StepReport) -> None:
        """A report of the agent."""
        before = self._ranks[report.rank]
        self._ranks[report.rank] = Progress(
            report.serial,
            report.points,
            report.phase,
            _moment(report.heartbeat_age, before.heartbeat),
            report.step,
            report.total,
            _moment(report.logged_age, before.logged),
        )


def _age(moment: float, before: float) -> float | None:
    return max(0.0, time.monotonic() - moment) if moment > before else None


def _moment(age: float | None, before: float) -> float:
    """A new moment is later than the one before, however long its report took."""
    return before if age is None else max(time.monotonic() - age, math.nextafter(before, math.inf))
