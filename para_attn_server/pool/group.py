"""A worker group: the N ranks that work on one job together. It starts, fails and heals as one.

A state machine without I/O of its own: ranks are started and spoken to through an executor, time is given to `tick`,
and what matters to the pool goes to its listener. Whatever goes wrong with one rank, the whole group is killed, every
rank is waited for (two models must never be in one GPU's memory), and the group is built anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog

from para_attn_server.core.clock import RunningClock
from para_attn_server.core.errors import JobError, ServerError
from para_attn_server.core.job import Job, Output
from para_attn_server.core.output import temporary_path
from para_attn_server.core.wire.control import GroupView
from para_attn_server.core.wire.launch import RankSpec
from para_attn_server.core.wire.ranks import (
    Cancel,
    Canceled,
    Failed,
    Finished,
    FromRank,
    Log,
    Pong,
    Ready,
    Run,
    Settle,
    Settled,
    SetupError,
    Started,
    Step,
    Stop,
)
from para_attn_server.core.wire.step_board import StepBoard
from para_attn_server.executors.base import Executor, ExitInfo, RankHandle
from para_attn_server.pool.backoff import Backoff, SetupFailure
from para_attn_server.pool.idle import IdleWatch
from para_attn_server.pool.listener import GroupListener, GroupState
from para_attn_server.pool.monitor import GroupLoss, RunMonitor, Timeouts
from para_attn_server.pool.outbox import Outbox, transition
from para_attn_server.pool.ranks import Ranks
from para_attn_server.pool.run import SHUTDOWN, JobRun, Lost, Outcome, StopOrder
from para_attn_server.pool.streak import FailureStreak

log = structlog.get_logger()

SETTLE_BARRIER = 30.0
"""Seconds that ranks which have all left a failed run have to clean up and to meet at a barrier."""
STOP_TIMEOUT = 2.0
"""Seconds that idle ranks have to leave after Stop."""
YOUNG = 60.0
"""Seconds after its setup in which the death of an idle rank counts as a failed setup."""


class Group:
    """One worker group; also the RankEvents that its executor reports to.

    make_specs: the ranks' launch specs, made anew for each launch (a fresh rendezvous port). clock: core/clock.py.
    """

    def __init__(
        self,
        index: int,
        num_ranks: int,
        make_specs: Callable[[], list[RankSpec]],
        executor: Executor,
        listener: GroupListener,
        timeouts: Timeouts,
        clock: RunningClock | None = None,
    ) -> None:
        self.index, self.num_ranks = index, num_ranks
        self.state, self.since, self.cause = GroupState.STARTING, time.time(), ""
        self.board = StepBoard.create(num_ranks)
        self.run: JobRun | None = None
        self._make_specs, self._executor, self._listener = make_specs, executor, listener
        self.outbox = Outbox()
        self._timeouts, self._clock = timeouts, clock or RunningClock()
        self._monitor = RunMonitor(index, self.board, timeouts)
        self._ranks, self._idle = Ranks(num_ranks), IdleWatch(num_ranks)
        self._generation = self._serial = 0
        self._launching = False
        self._killing = False
        self._verdict: Outcome = None
        self._setup_failure: SetupFailure | None = None  # of the launch under way
        self._backoff = Backoff()
        self._streak = FailureStreak()
        self._launched_at = self._ready_at = 0.0
        self._deadline: float | None = None  # of the setup, the backoff or the stop, whichever is under way

    # --- what the pool asks for ---

    @transition
    def start(self) -> None:
        """Launch the ranks."""
        self._launch()

    @transition
    def assign(self, job: Job, arguments: dict[str, Any], request_id: str | None = None) -> None:
        """Run a job with these arguments, which came by the request of that name; the group must be ready."""
        self._serial = (self._serial + 1) % 2**24
        part = temporary_path(job.output_path, job.id)
        now, pauses = self._clock(), self._clock.long_pauses
        self.run = JobRun(job.id, self._serial, now, part, arguments, job.deadline, pauses, request_id)
        self._ranks.send_all(Run(job.id, self._serial, arguments, job.output_path, request_id))
        self._enter(GroupState.BUSY)

    @transition
    def stop_run(self, order: StopOrder) -> None:
        """Have the ranks leave the run; after the cancel timeout the group is rebuilt. Of several orders the first
        counts, but for one that ends the ranks at once."""
        if self.run is None:
            return
        if order.at_once:
            self._kill(order.outcome)
        elif self.run.stop_order is None:
            self.run.stop_order = order
            self.run.cancel_deadline = self._clock() + self._timeouts.cancel
            self._ranks.send(0, Cancel(self.run.serial))

    @transition
    def stop(self) -> None:
        """End the ranks: idle ones by themselves, busy ones at once."""
        self._enter(GroupState.STOPPING)
        self._deadline = self._clock() + STOP_TIMEOUT
        if self.run is not None:
            self.stop_run(SHUTDOWN)
        elif self._ranks.all_ready:
            self._ranks.send_all(Stop())
        else:
            self._kill(None)

    @property
    def stopped(self) -> bool:
        """No rank is left, and none will come."""
        return self.state is GroupState.STOPPING and not self._launching and not self._ranks.any_alive

    def view(self) -> GroupView:
        """The group as users see it."""
        job_id = self.run.job_id if self.run else None
        return GroupView(self.index, self.state.value, self.since, self._ranks.views(), job_id, self.cause or None)

    @transition
    def tick(self, now: float) -> None:
        """Act on the deadlines that have passed."""
        if self.run is not None and not self._killing:
            self._catch_up(self.run, now)
            match self._monitor.check(self.run, self._ranks, now):
                case GroupLoss(cause, outcome):
                    self._lose(cause, outcome)
                case StopOrder() as order:
                    self.stop_run(order)
        elif self.state is GroupState.READY:
            self._check_idle(now)
        if self._deadline is not None and now >= self._deadline:
            self._deadline = None
            self._overdue()

    def _check_idle(self, now: float) -> None:
        rank = self._idle.silent_rank(self._ranks, (self._generation, self._serial), now)
        if rank is not None:
            self._lose(f"idle rank {rank} showed no sign of life", None)

    # --- what the executor reports ---

    @transition
    def launched(self, generation: int, handles: list[RankHandle]) -> None:
        self._launching = False
        self._ranks.adopt(handles)
        if self._killing:
            self._kill(self._verdict)
        self.outbox.post(self._listener.group_changed)

    @transition
    def launch_failed(self, generation: int, reason: str, own_fault: bool, from_outside: bool = False) -> None:
        self._launching = False
        self._setup_failure = self._setup_failure or SetupFailure.of(0, reason, own_fault, from_outside)
        self._on_all_exited()

    @transition
    def message(self, generation: int, rank: int, message: FromRank) -> None:
        if generation != self._generation:
            return
        match message:
            case Ready():
                self._on_ready(rank, message)
            case Pong():
                self._idle.answered(rank, self._clock())
            case SetupError():
                self._setup_failure = self._setup_failure or SetupFailure(message)
                self._kill(None)
            case _ if self.run is None or message.serial != self.run.serial:
                log.debug("late message dropped", group=self.index, rank=rank, message=type(message).__name__)
            case _:
                self._on_run_message(self.run, message)

    @transition
    def died(self, generation: int, rank: int, death: ExitInfo) -> None:
        if generation != self._generation:
            return
        self._ranks.slots[rank].alive = False
        if not self._killing and self.state is not GroupState.STOPPING:
            log.error("rank died", group=self.index, rank=rank, how=death.how)
            if self.run is not None:
                self._lose(f"rank {rank} {death.how}", self.run.outcome_of_death(rank, death))
            else:
                self._die_idle(rank, death)
        elif not self._ranks.any_alive and not self._launching:
            self._on_all_exited()

    # --- the inside ---

    def _die_idle(self, rank: int, death: ExitInfo) -> None:
        """A death in setup, or so soon after it that it belongs to the setup, holds the next one back."""
        if self._ranks.all_ready and self._clock() - self._ready_at >= YOUNG:
            self._lose(f"rank {rank} {death.how}", None)
            return
        when = "after" if self._ranks.all_ready else "during"
        failure = SetupFailure.of(rank, f"rank {rank} {death.how} {when} setup", death.own_fault, death.from_outside)
        self._setup_failure = self._setup_failure or failure
        self._enter(GroupState.RECOVERING if self._ranks.all_ready else self.state)
        self._kill(None)

    def _on_ready(self, rank: int, ready: Ready) -> None:
        self._ranks.slots[rank].ready = ready
        first = self._ranks.slots[0].ready
        if first is None or not self._ranks.all_ready or self._killing:
            return
        self._deadline, self._ready_at, self.cause = None, self._clock(), ""
        self._enter(GroupState.READY)
        self.outbox.post(self._listener.group_ready, self.index, first)

    def _on_run_message(self, run: JobRun, message: FromRank) -> None:
        now = self._clock()
        match message:
            case Started():
                run.entered = True
                self.outbox.post(self._listener.run_started, run.job_id)
            case Step():
                run.note_step(message.step, now)
                self.outbox.post(self._listener.run_stepped, run.job_id, message.step, message.total)
            case Log():
                self.outbox.post(self._listener.run_logged, run.job_id, message.lines, message.left_out)
            case Finished() | Canceled() | Failed():
                run.note_result(message)
                self._on_rank_result(run, message, now)
            case Settled():
                run.note_settled(message)
                if not self._killing and (run.disconnected or len(run.settled) == self.num_ranks):
                    self._end(run)

    def _catch_up(self, run: JobRun, now: float) -> None:
        """Rank zero does not report a step that follows hard upon another; if the next one is slow, read the board."""
        seen = self.board.progress(0)
        if seen.step > run.step and seen.serial == run.serial and run.stepped_at is not None:
            run.note_step(seen.step, now)
            self.outbox.post(self._listener.run_stepped, run.job_id, seen.step, seen.total)

    def _last_progress(self, run: JobRun) -> tuple[int, int | None]:
        seen = self.board.progress(0)
        return (seen.step, seen.total) if seen.serial == run.serial else (0, None)

    def _on_rank_result(self, run: JobRun, message: Finished | Canceled | Failed, now: float) -> None:
        if isinstance(message, Failed):
            error = message.error
            log.warning("rank failed", group=self.index, rank=message.rank, **run.names, error=error.as_dict())
            timeout = run.settle_timeout(self._ready_at - self._launched_at)
            run.settle_deadline = run.settle_deadline or now + timeout
        elif run.output is not None:
            run.settle_deadline = run.settle_deadline or now + run.leave_timeout(self._timeouts.step)
        if len(run.results) < self.num_ranks or self._killing:
            return
        if not run.failures:
            self._end(run)
        elif not run.consistent:
            self._lose("the ranks failed at different steps", run.outcome())
        else:
            run.settle_deadline = now + SETTLE_BARRIER
            self._ranks.send_all(Settle(run.serial))

    def _end(self, run: JobRun) -> None:
        """All ranks are out of the run; the group is kept unless it is damaged, or may be."""
        outcome = run.outcome()
        damage = self._damage(run, outcome)
        if damage is not None:
            self._lose(damage, outcome)
            return
        self.run = None
        self._backoff.forget()
        self._enter(GroupState.READY)
        self._report(run, outcome)

    def _damage(self, run: JobRun, outcome: Outcome) -> str | None:
        if run.disconnected:
            ranks = ", ".join(map(str, sorted(run.disconnected)))
            return f"the process group that setup() made is gone on rank {ranks}: predict() must not destroy it"
        error = outcome.error if isinstance(outcome, Lost) else outcome
        if isinstance(error, JobError) and self._streak.failed(run.arguments, error.type, self._clock()):
            return f"different jobs failed one after the other, the last with {error.type}"
        return None

    def _report(self, run: JobRun, outcome: Outcome) -> None:
        if isinstance(outcome, Output):
            self._streak.succeeded(run.arguments)
        outcome = run.without_pauses(outcome, self._clock.long_pauses)
        if run.cause is not None and outcome == run.outcome():
            self.outbox.post(self._listener.run_failed, run.job_id, run.cause)
        if isinstance(outcome, Lost):
            self.outbox.post(self._listener.run_lost, run.job_id, outcome)
        else:
            self.outbox.post(self._listener.run_ended, run.job_id, outcome, self._last_progress(run))

    def _lose(self, cause: str, verdict: Outcome) -> None:
        """Kill and rebuild; the run's verdict is reported when its last rank is dead."""
        log.error("worker group is rebuilt", group=self.index, cause=cause)
        self.cause = cause
        self._enter(GroupState.RECOVERING)
        self._kill(verdict)

    def _kill(self, verdict: Outcome) -> None:
        """Kill all ranks. verdict: what the run came to; the first one counts."""
        if not self._killing:
            self._killing, self._verdict = True, verdict
        self._ranks.kill()
        if not self._ranks.any_alive and not self._launching:
            self._on_all_exited()

    def _on_all_exited(self) -> None:
        """The last rank of a killed or stopped group is dead."""
        run, self.run, self._killing = self.run, None, False
        verdict, self._verdict = (run and run.output) or self._verdict, None  # published before it was killed
        failure, self._setup_failure = self._setup_failure, None
        if self.state is GroupState.STOPPING:
            self.outbox.post(self._listener.group_changed)
        elif failure is not None:
            self._after_failed_setup(failure)
        elif isinstance(verdict, Lost) and (verdict.charge or verdict.from_outside):
            self._launch_after(*self._backoff.lost(verdict.from_outside))
        else:
            self._launch()
        if run is not None:
            self._report(run, verdict)

    def _after_failed_setup(self, failure: SetupFailure) -> None:
        backoff, broken = self._backoff.add(failure)
        self.cause = str(failure)
        self._launch_after(backoff, broken)
        if (failure.own_fault and backoff) or broken:
            self.outbox.post(self._listener.setup_failed, self.index, failure)

    def _launch_after(self, pause: float, broken: bool) -> None:
        if not pause:
            self._launch()
            return
        log.warning("backing off before relaunch", group=self.index, seconds=pause)
        self._deadline = self._clock() + pause
        self._ranks = Ranks(self.num_ranks)
        self._enter(GroupState.BROKEN if broken else GroupState.RECOVERING)

    def _overdue(self) -> None:
        if self.state is GroupState.STOPPING:
            self._kill(SHUTDOWN.outcome)
        elif self._launching or self._ranks.any_alive:
            self._setup_failure = SetupFailure.of(self._ranks.slowest, f"not done within {self._timeouts.setup:g} s")
            self._kill(None)
            if self._launching:
                self._executor.abort_launch()
        else:
            self._launch()

    def _launch(self) -> None:
        self._generation += 1
        self._launching = True
        self._ranks = Ranks(self.num_ranks)
        self._streak.rebuilt()
        self._launched_at = self._clock()
        self._deadline = self._launched_at + self._timeouts.setup
        self.outbox.post(self._listener.group_changed)
        try:
            self._executor.launch(self._generation, self._make_specs(), self.board.fd, self)
        except (OSError, ServerError) as error:
            log.error("ranks cannot be launched", group=self.index, error=str(error))
            self.launch_failed(self._generation, f"ranks cannot be launched ({type(error).__name__})", own_fault=False)

    def _enter(self, state: GroupState) -> None:
        if self.state is not GroupState.STOPPING:  # from which nothing leads back
            self.state, self.since = state, time.time()
            self.outbox.post(self._listener.group_changed)
