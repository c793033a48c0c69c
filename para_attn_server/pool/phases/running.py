"""A job's run, from the order to do it until all ranks have left it; and what is noted of a run while its ranks die."""

from __future__ import annotations

import structlog

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import Result
from para_attn_server.core.wire.ranks import (
    Canceled,
    Emit,
    Failed,
    Finished,
    FromRank,
    Log,
    Settle,
    Settled,
    Started,
    Step,
    Unwritten,
    Written,
)
from para_attn_server.executors.base import ExitInfo
from para_attn_server.pool.listener import GroupState
from para_attn_server.pool.monitor import GroupLoss, RunMonitor
from para_attn_server.pool.phases.phase import GroupParts, Phase
from para_attn_server.pool.run import SHUTDOWN, JobRun, Lost, Outcome, StopOrder
from para_attn_server.stores.base import Progress

log = structlog.get_logger()

SETTLE_BARRIER = 30.0
"""Seconds that ranks which have all left a failed run have to clean up and to meet at a barrier."""


class RunReports:
    """What the ranks say of one run, noted and passed on to the pool. What follows from it is the phase's to decide."""

    def __init__(self, group: GroupParts, run: JobRun) -> None:
        self._group, self._run = group, run

    def concerns(self, message: FromRank) -> bool:
        """Whether it is about this run; one about an earlier run comes late."""
        return getattr(message, "serial", None) == self._run.serial

    def note(self, message: FromRank, now: float) -> None:
        """Remember what it says of the run."""
        run, group = self._run, self._group
        match message:
            case Started():
                run.entered = True
                group.outbox.post(group.listener.run_started, run.job_id)
            case Step():
                self.note_step(message.step, message.total, now)
            case Log():
                group.outbox.post(group.listener.run_logged, run.job_id, message.lines, message.left_out)
            case Emit():
                group.outbox.post(group.listener.run_emitted, run.job_id, message)
            case Finished() | Canceled() | Failed():
                if isinstance(message, Failed):
                    error = message.error.as_dict()
                    log.warning("rank failed", group=group.index, rank=message.rank, **run.names, error=error)
                run.note_result(message)
            case Settled():
                run.note_settled(message)
            case Written() | Unwritten():
                run.writing_end = message

    def note_step(self, step: int, total: int | None, now: float) -> None:
        """Rank zero has done a step."""
        self._run.note_step(step, now)
        self._group.outbox.post(self._group.listener.run_stepped, self._run.job_id, step, total)

    def last_progress(self) -> Progress:
        """Rank zero's, as far as it has come."""
        seen = self._group.ranks.progress(0)
        return (seen.step, seen.total) if seen.serial == self._run.serial else (0, None)

    def end(self, outcome: Outcome, progress: Progress) -> None:
        """The run has come to this, and no rank is in it any more."""
        run, group = self._run, self._group
        if isinstance(outcome, Result):
            group.streak.succeeded(run.arguments)
        outcome = run.without_pauses(outcome, group.clock.long_pauses)
        if run.cause is not None and outcome == run.outcome():
            group.outbox.post(group.listener.run_failed, run.job_id, run.cause)
        if isinstance(outcome, Lost):
            group.outbox.post(group.listener.run_lost, run.job_id, outcome)
        else:
            group.outbox.post(group.listener.run_ended, run.job_id, outcome, progress)


class Running(Phase):
    """The ranks are in a run. Its deadlines are the monitor's."""

    def __init__(self, group: GroupParts, run: JobRun) -> None:
        super().__init__(group)
        self.run: JobRun = run
        self._reports = RunReports(group, run)
        self._monitor = RunMonitor(group.index, group.timeouts)

    def begin(self) -> None:
        self.group.show(GroupState.BUSY)

    def tick(self, now: float) -> None:
        self._catch_up(now)
        match self._monitor.check(self.run, self.group.ranks, now):
            case GroupLoss(cause, outcome):
                self.group.lose(cause, outcome, self.run)
            case StopOrder() as order:
                self.group.stop_run(order)

    def message(self, rank: int, message: FromRank) -> None:
        if not self._reports.concerns(message):
            super().message(rank, message)
            return
        now, run = self.group.clock(), self.run
        self._reports.note(message, now)
        match message:
            case Finished() | Canceled() | Failed():
                self._on_result(message, now)
            case Written() | Unwritten() if run.result is not None:
                self._on_output(now)
            case Settled():
                if run.disconnected or len(run.settled) == self.group.num_ranks:
                    self._end()

    def died(self, rank: int, death: ExitInfo) -> None:
        log.error("rank died", group=self.group.index, rank=rank, how=death.how)
        self.group.lose(f"rank {rank} {death.how}", self.run.outcome_of_death(rank, death), self.run)

    def abandon(self, verdict: Outcome) -> None:
        self.group.end_ranks(verdict=verdict, run=self.run)

    def rebuild(self, cause: str) -> None:
        self.group.lose(cause, Lost(JobError("rank_lost", cause), charge=False), self.run)

    def stop(self) -> None:
        self.group.stop_run(SHUTDOWN)

    def _catch_up(self, now: float) -> None:
        """Rank zero does not report a step that follows hard upon another; if the next one is slow, read the board."""
        seen, run = self.group.ranks.progress(0), self.run
        if seen.step > run.step and seen.serial == run.serial and run.stepped_at is not None:
            self._reports.note_step(seen.step, seen.total, now)

    def _on_result(self, message: Finished | Canceled | Failed, now: float) -> None:
        """A rank is out of the run: the others have some time to follow."""
        run, group = self.run, self.group
        if isinstance(message, Failed):
            timeout = run.settle_timeout(group.ready_at - group.launched_at)
            run.settle_deadline = run.settle_deadline or now + timeout
        elif run.result is not None:
            self._on_output(now)
        if len(run.results) < group.num_ranks:
            return
        if not run.failures:
            self._end()
        elif not run.consistent:
            group.lose("the ranks failed at different steps", run.outcome(), run)
        else:
            run.settle_deadline = now + SETTLE_BARRIER
            group.ranks.send_all(Settle(run.serial))

    def _on_output(self, now: float) -> None:
        """The job's output is there: the others are needed no more."""
        run = self.run
        run.settle_deadline = run.settle_deadline or now + run.leave_timeout(self.group.timeouts.step)

    def _end(self) -> None:
        """All ranks are out of the run; the group is kept unless it is damaged, or may be."""
        run, group = self.run, self.group
        if run.held is not None and run.writing_end is None:
            self._catch_up(group.clock())
            group.writings.begin(run, self._reports.last_progress())
        if run.is_unwritten and run.stop_order is None:
            group.backoff.forget()
            group.streak.succeeded(run.arguments)
            group.wait_for_job(self._damage(None))
            return
        outcome = run.outcome()
        damage = self._damage(outcome)
        if damage is not None:
            self.group.lose(damage, outcome, self.run)
            return
        self.group.backoff.forget()
        self.group.wait_for_job()
        self._reports.end(outcome, self._reports.last_progress())

    def _damage(self, outcome: Outcome) -> str | None:
        run, group = self.run, self.group
        if run.disconnected:
            ranks = ", ".join(map(str, sorted(run.disconnected)))
            return f"the process group that setup() made is gone on rank {ranks}: predict() must not destroy it"
        error = outcome.error if isinstance(outcome, Lost) else outcome
        if isinstance(error, JobError) and group.streak.failed(run.arguments, error.type, group.clock()):
            return f"different jobs failed one after the other, the last with {error.type}"
        return None
