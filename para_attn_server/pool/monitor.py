"""The deadlines of one run: when it is canceled, when its ranks are asked for their stacks, when its group is lost.

Says what is due and leaves doing it to the group; asking a stuck run's ranks for their stacks is all it does itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from para_attn_server.core.steady import steady
from para_attn_server.pool.ranks import Ranks
from para_attn_server.pool.run import EXPIRY, JobRun, Lost, Outcome, StopOrder, timeout
from para_attn_server.pool.watchdog import RankSnapshot, hang, step_budget

log = structlog.get_logger()

STACKS_PATIENCE = 0.3
"""Seconds that the ranks of a stuck run have to print their stacks."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that things may take: see the settings of the same names. job: None is without limit."""

    setup: float
    step: float
    min_step: float
    job: float | None
    cancel: float


@dataclass(frozen=True, slots=True)
class GroupLoss:
    """The group cannot go on. cause: in words. outcome: what its run came to."""

    cause: str
    outcome: Outcome


Due = GroupLoss | StopOrder | None
"""What a run's deadlines ask for: nothing, the loss of its group, or that it is left."""


class RunMonitor:
    """Checks the runs of one group against the clock. Times are those of the group's clock."""

    def __init__(self, group: int, timeouts: Timeouts) -> None:
        self._group, self._timeouts = group, timeouts

    def check(self, run: JobRun, ranks: Ranks, now: float) -> Due:
        """What is due now."""
        if run.settle_deadline is not None:  # its cause is known: nothing else may be found out about it any more
            return self._unsettled(run, ranks, now) if now >= run.settle_deadline else None
        if run.cancel_deadline is not None and now >= run.cancel_deadline:
            cause = f"canceled job {run.job_id} was not left within {self._timeouts.cancel:g} s"
            return GroupLoss(cause, run.stop_outcome)
        if run.stacks_deadline is not None:
            return self._after_stacks(run, ranks, now) if now >= run.stacks_deadline else None
        if run.expires is not None and steady() >= run.expires:
            return EXPIRY
        if self._timeouts.job is not None and now - run.started >= self._timeouts.job:
            return timeout(self._timeouts.job, run.step)
        self._watch(run, ranks, now)
        return None

    def _unsettled(self, run: JobRun, ranks: Ranks, now: float) -> GroupLoss | None:
        """The ranks' time to leave is over. Of one that stays though the output is published the stacks are logged."""
        if not run.failures and run.stacks_deadline is None:
            run.stacks_deadline = run.settle_deadline = now + STACKS_PATIENCE
            ranks.request_stacks()
            return None
        if not run.failures:
            self._log_stacks(ranks.sights())
        return GroupLoss(run.unsettled(len(ranks.slots)), run.outcome())

    def _watch(self, run: JobRun, ranks: Ranks, now: float) -> None:
        """Ask all ranks for their stacks if the run shows no sign of life for longer than its step may take."""
        if self._is_stuck(run, ranks, now):
            run.stacks_deadline = now + STACKS_PATIENCE
            log.error("run is stuck", group=self._group, **run.names, silent_seconds=round(run.silence(now), 1))
            ranks.request_stacks()

    def _is_stuck(self, run: JobRun, ranks: Ranks, now: float) -> bool:
        seen = [ranks.progress(rank) for rank in range(len(ranks.slots))]
        of_run = [rank for rank in seen if rank.serial == run.serial]
        heartbeat = max((rank.heartbeat for rank in of_run), default=0.0)
        logged = max((rank.logged for rank in of_run), default=0.0)
        run.look_for_life(heartbeat, now, logged, self._timeouts.step)
        return run.silence(now) > step_budget(run, seen[0].total, self._timeouts.step, self._timeouts.min_step)

    def _after_stacks(self, run: JobRun, ranks: Ranks, now: float) -> GroupLoss | None:
        run.stacks_deadline = None
        if not self._is_stuck(run, ranks, now):
            return None
        sights = ranks.sights()
        self._log_stacks(sights)
        error = hang(run, run.silence(now), sights)
        return GroupLoss(error.message, Lost(error))

    def _log_stacks(self, sights: list[RankSnapshot]) -> None:
        for rank, sight in enumerate(sights):
            log.error("stacks of a stuck run", group=self._group, rank=rank, **sight.for_log())
