"""The pool: all worker groups of one server, and the only place that moves jobs along.

What a group reports becomes a transition in the store, then news for the web workers. Knows nothing of processes,
sockets or HTTP.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog

from para_attn_server.core.errors import IllegalTransition, JobError, JobNotFound, ServerError, StoreUnavailable
from para_attn_server.core.job import Job, JobStatus, Output
from para_attn_server.core.output import refusal
from para_attn_server.core.steady import steady
from para_attn_server.core.wire.control import JobUpdate, PoolView, ToWeb
from para_attn_server.core.wire.ranks import Failed, Ready
from para_attn_server.pool.backoff import SetupFailure
from para_attn_server.pool.group import Group
from para_attn_server.pool.job_logs import JobLogs
from para_attn_server.pool.job_queue import READ_AT_ONCE, JobQueue, read_queued
from para_attn_server.pool.life_log import LifeLog
from para_attn_server.pool.listener import GroupState
from para_attn_server.pool.model_info import ModelInfoWriter
from para_attn_server.pool.planner import COSTS_DOCUMENT, Planner
from para_attn_server.pool.publishing import Publisher
from para_attn_server.pool.run import CANCEL, EXPIRED, Ending, Lost, last_attempt
from para_attn_server.pool.transitions import Change, Transition, Transitions
from para_attn_server.pool.write_queue import WriteQueue
from para_attn_server.stores.base import JobStore, Progress

log = structlog.get_logger()

PROGRESS_EVERY = 0.1
"""Seconds between two writes of a job's step to the store; web workers that follow it get each that is reported."""
LOOK_EVERY = 0.5
"""Seconds between two looks for jobs whose hint was lost."""
EXPIRED_AT_ONCE = 50
"""Queued jobs past their deadline that are ended in one go: the loop must not stand still for ten thousand."""
MEAN_OVER = 20
"""Jobs over whose time the mean is taken that users see."""


class Pool:
    """Groups, queue and store brought together; also the GroupListener of its groups.

    model_info: remembers what the ranks report of the predictor. publish: sends news to all web workers.
    soon: calls a function a little later, once what is under way is done. on_setup_failed: gets each failed setup.
    """

    def __init__(
        self,
        store: JobStore,
        model_info: ModelInfoWriter,
        max_attempts: int,
        publish: Callable[[ToWeb], None],
        soon: Callable[[Callable[[], None]], object],
        on_setup_failed: Callable[[SetupFailure], None],
    ) -> None:
        self._store, self._model_info, self._max_attempts = store, model_info, max_attempts
        self._publish, self._soon, self._on_setup_failed = publish, soon, on_setup_failed
        self._started_at, self._started_steady = time.time(), steady()
        self._groups: Sequence[Group] = ()
        self._versions: dict[str, str] = {}
        self._seconds: deque[float] = deque(filter(None, [store.mean_seconds(MEAN_OVER)]), maxlen=MEAN_OVER)
        self.queue, self._writes = JobQueue(), WriteQueue()
        self._logs, self._life = JobLogs(store), LifeLog(soon)
        self._outputs = Publisher(self._life.names)
        self._planner = Planner(self.queue, lambda: self._groups, model_info.model, publish)
        observers = (
            self._run_on_group,
            self.queue.observe,
            self._planner.observe,
            self._outputs.observe,
            self._logs.observe,
            self._life.observe,
            self._note_seconds,
            self._notify_web,
        )
        self._transitions = Transitions(store, observers)
        self._arguments: dict[str, dict[str, Any]] = {}  # of jobs that are being started
        self._store_version = -1
        self._looked_at = 0.0
        self._written_at: dict[str, float] = {}
        self._view_is_due = False
        self.trouble: str | None = None
        self.held = False
        self.notices: list[str] = []
        self.stopping = self.ever_ready = False

    def start(self, groups: Sequence[Group]) -> None:
        """Put jobs that a former controller left running back into the queue, and launch the groups."""
        for job in self._store.running():
            self._give_back(job, "the server was restarted", charge=False)
        self._planner.restore(self._store.document(COSTS_DOCUMENT))
        self._groups = groups
        for group in groups:
            group.start()

    # --- orders ---

    def submitted(self, job: Job, request_id: str | None) -> None:
        """A web worker has put a job into the queue, for the request of that name."""
        self._life.submitted(job.id, request_id)
        self.queue.add(job)
        self.dispatch()

    def dispatch(self) -> None:
        """Give queued jobs to free groups. Where the store refuses, a later tick tries again."""
        try:
            if starts := self._starts():
                self._transitions.apply(*starts)
        except StoreUnavailable as error:
            self._writes.refused(error)

    def _starts(self) -> list[Change]:
        """The starts that are due. None while there is something to be written first."""
        free = [group.index for group in self._groups if group.state is GroupState.READY]
        if not free or not self.queue or self.stopping or self.held or self._writes.pending:
            return []
        return [partial(self._start, job.id, group, time.time()) for job, group in self._planner.due(free)]

    def _start(self, job_id: str, group: int, now: float, store: JobStore) -> list[Job]:
        try:
            self._arguments[job_id] = store.arguments(job_id)
            return [store.start(job_id, group, now)]
        except (IllegalTransition, JobNotFound):  # a hint that came when the job had ended
            self.queue.remove(job_id)
            return []

    def _run_on_group(self, transition: Transition) -> None:
        job = transition.job
        if transition.started and job.group is not None:
            self._groups[job.group].assign(job, self._arguments.pop(job.id), self._life.request_id(job.id))

    def cancel(self, job_id: str | None) -> str | None:
        """Cancel that job, or the oldest running one; the id of the job it is done to, None if there is none.

        What runs is known from the groups, and is left whatever the store says. Raises StoreUnavailable while the store
        refuses: a running job is left all the same, a queued one stays queued.
        """
        running = [group for group in self._groups if group.run and job_id in (None, group.run.job_id)]
        if running:
            return self._cancel_running(min(running, key=lambda group: group.run.started if group.run else 0.0))
        return None if job_id is None else self._cancel_queued(job_id)

    def _cancel_running(self, group: Group) -> str:
        run = group.run
        assert run is not None
        asked_before = run.cancel_deadline is not None
        group.stop_run(CANCEL)
        if not (asked_before and self._writes.pending):  # else that waits to be written
            self._writes.write(partial(self._store.request_cancel, run.job_id, time.time()), at_once=True)
        self._must_be_written("the ranks leave the job, but its end cannot be written yet")
        return run.job_id

    def _cancel_queued(self, job_id: str) -> str | None:
        """One that runs on no group: queued, or its end waits to be written."""
        self._writes.flush(at_once=True)
        self._must_be_written("the job is not canceled")
        try:
            job = self._store.get(job_id)
            if job is None or job.status.terminal:
                return None
            self._transitions.apply(lambda store: [store.cancel(job_id, time.time())])
        except StoreUnavailable as error:
            self._writes.refused(error)
            raise StoreUnavailable(str(error), _public("the job is not canceled", error)) from error
        return job_id

    def _must_be_written(self, consequence: str) -> None:
        error = self._writes.refusal
        if self._writes.pending and error is not None:
            raise StoreUnavailable(str(error), _public(consequence, error))

    def tick(self, now: float) -> None:
        """Deadlines of the groups, and jobs whose hint was lost. now: monotonic seconds."""
        for group in self._groups:
            group.tick(now)
        if self._planner.stops():
            self._writes.try_write(self._expire)
        if self._logs.waiting:
            self._writes.try_write(self._logs.flush)
        self._planner.tick(now)
        if self._planner.unsaved(now):
            self._writes.try_write(partial(self._planner.save, self._store))
        if now - self._looked_at < LOOK_EVERY:
            return
        self._looked_at = now
        self._outputs.catch_up()
        if self._writes.pending:
            self._writes.flush()
            self.dispatch()
        self._writes.try_write(self._look)

    def _look(self) -> None:
        """What no hint announced: new jobs, and jobs whose deadline has passed."""
        version = self._store.changes()
        if version == self._store_version and self.idle and not self.held:
            return  # the queue is empty
        if version != self._store_version:
            found = read_queued(self._store, self.queue.seen)
            self.queue.found(found)
            self._store_version = version if len(found) < READ_AT_ONCE else -1
        self.dispatch()

    def hold(self, trouble: str | None, held: bool) -> None:
        """Say why new jobs would fail, None when they would not. held: start none of them until then."""
        self.trouble, self.held = trouble, held
        self._publish(self.view())
        self.dispatch()

    def drain(self) -> None:
        """Start no further jobs; queued ones stay queued for the next start."""
        self.stopping = True
        self._publish(self.view())

    def stop(self) -> None:
        """End all ranks; running jobs go back into the queue."""
        self.stopping = True
        for group in self._groups:
            group.stop()

    def close(self) -> None:
        """All ranks have ended: write what still waits to be written."""
        self._writes.flush(at_once=True)
        self._writes.try_write(partial(self._planner.save, self._store))
        self._outputs.catch_up()

    @property
    def busy(self) -> bool:
        """True while a job runs, or the end of one is not in the store yet."""
        return self._writes.pending or any(group.run for group in self._groups)

    @property
    def idle(self) -> bool:
        """True while every group is ready for a job, and nothing waits to be written."""
        waits = self._writes.pending or self._logs.waiting or self._planner.stops()
        return not waits and all(group.state is GroupState.READY for group in self._groups)

    @property
    def stopped(self) -> bool:
        """True when no rank is left."""
        return all(group.stopped for group in self._groups)

    def view(self) -> PoolView:
        """The pool as users see it."""
        return PoolView(
            started_at=self._started_at,
            started_steady=self._started_steady,
            stopping=self.stopping,
            groups=[group.view() for group in self._groups],
            mean_seconds=sum(self._seconds) / len(self._seconds) if self._seconds else None,
            versions=self._versions,
            trouble=self.trouble,
            held=self.held,
            notices=self.notices,
        )

    # --- what the groups report ---

    def group_changed(self) -> None:
        """Several changes at once are sent once, and not before the next job is on its way."""
        if not self._view_is_due:
            self._view_is_due = True
            self._soon(self._publish_view)

    def _publish_view(self) -> None:
        self._view_is_due = False
        self._publish(self.view())

    def group_ready(self, group: int, ready: Ready) -> None:
        log.info("worker group is ready", group=group, device=ready.device)
        self.ever_ready = True
        self._versions = ready.versions
        self._writes.write(partial(self._model_info.reported, ready))
        self.group_changed()
        self.dispatch()

    def setup_failed(self, group: int, failure: SetupFailure) -> None:
        log.error("setup failed", group=group, reason=str(failure))
        self._on_setup_failed(failure)

    def run_started(self, job_id: str) -> None:
        self._written_at[job_id] = time.monotonic()

    def run_stepped(self, job_id: str, step: int, total: int | None) -> None:
        self._publish(JobUpdate(job_id, JobStatus.RUNNING, step, total))
        self._planner.stepped(job_id, step, total)
        now = time.monotonic()
        if now - self._written_at.get(job_id, 0.0) >= PROGRESS_EVERY:
            self._written_at[job_id] = now
            self._writes.try_write(partial(self._store.progress, job_id, step, total, time.time()))

    def run_logged(self, job_id: str, lines: Sequence[str], left_out: int) -> None:
        self._logs.add(job_id, lines, left_out)

    def run_failed(self, job_id: str, cause: Failed) -> None:
        if cause.traceback:
            self._logs.traceback(job_id, cause.rank, cause.traceback)

    def run_ended(self, job_id: str, outcome: Ending, progress: Progress) -> None:
        self._written_at.pop(job_id, None)
        self._write_logs()
        self._writes.write(partial(self._record_end, job_id, outcome, progress, time.time()))
        self.dispatch()

    def run_lost(self, job_id: str, lost: Lost) -> None:
        self._written_at.pop(job_id, None)
        self._life.lost(job_id, lost.error.message)
        self._write_logs()
        self._writes.write(partial(self._record_loss, job_id, lost))
        self.dispatch()

    # --- the inside ---

    def _write_logs(self) -> None:
        """Before the end that belongs below them."""
        if self._logs.waiting:
            self._writes.write(self._logs.flush)

    def _record_end(self, job_id: str, outcome: Ending, progress: Progress, now: float) -> None:
        """In one transaction with the start of the job that follows, which comes first: it need not wait until the
        output has its name."""
        if isinstance(outcome, Output) and (why := refusal(outcome, job_id)) is not None:
            outcome = JobError("output_unwritable", why)

        def end(store: JobStore) -> list[Job]:
            try:
                return [_end(store, job_id, outcome, progress, now)]
            except ServerError:
                raise
            except Exception:
                log.exception("the end of a job cannot be written as it was", **self._life.names(job_id))
                error = JobError("internal", "the server could not record how the job ended")
                return [store.fail(job_id, error, now)]

        self._transitions.apply(*self._starts(), end)

    def _record_loss(self, job_id: str, lost: Lost) -> None:
        job = self._store.get(job_id)
        if job is None or job.status is not JobStatus.RUNNING:
            return
        if lost.charge and job.attempts >= self._max_attempts and not job.cancel_requested:
            error = last_attempt(lost.error, job.attempts)
            self._transitions.apply(lambda store: [store.fail(job_id, error, time.time())])
        else:
            self._give_back(job, lost.error.message, lost.charge)

    def _give_back(self, job: Job, cause: str, charge: bool) -> None:
        """A running job whose ranks are gone goes back to its place in the queue; canceled, if it was to be.

        charge: whether the run counts as an attempt.
        """
        if job.cancel_requested:
            self._transitions.apply(lambda store: [store.cancel(job.id, time.time())])
        else:
            self._transitions.apply(lambda store: [store.requeue(job.id, cause, charge=charge, now=time.time())])

    def _expire(self) -> None:
        """Fail what the plan stops; not all of very many at once, and the rest at the next ticks."""
        stops = self._planner.stops()
        limit = min(len(stops), EXPIRED_AT_ONCE)
        before = len(self.queue)
        self._transitions.apply(lambda store: store.expire(EXPIRED, steady(), time.time(), limit))
        if len(self.queue) == before:  # the store has none of them as queued
            for stop in stops:
                self.queue.remove(stop.job.id)

    def _note_seconds(self, transition: Transition) -> None:
        if transition.job.status is JobStatus.SUCCEEDED:
            self._seconds.append(transition.job.run_seconds or 0.0)

    def _notify_web(self, transition: Transition) -> None:
        job = transition.job
        self._publish(JobUpdate(job.id, job.status, job.step, job.total_steps))


def _end(store: JobStore, job_id: str, outcome: Ending, progress: Progress, now: float) -> Job:
    if isinstance(outcome, Output):
        return store.succeed(job_id, outcome, now, progress)
    if isinstance(outcome, JobError):
        return store.fail(job_id, outcome, now, progress)
    return store.cancel(job_id, now, progress)


def _public(consequence: str, error: StoreUnavailable) -> str:
    return f"{consequence}: {error.public or 'the queue cannot be written'}"
