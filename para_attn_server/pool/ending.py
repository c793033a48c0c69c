"""Records what runs have come to: the end of a job, or its way back into the queue.

An end and the start of the job that follows are one transaction, and the job's log is written in it. What the store
refuses is tried again until it is on record.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import structlog

from para_attn_server.core.errors import JobError, ServerError
from para_attn_server.core.job import Job, Result
from para_attn_server.pool.dispatcher import Dispatcher, Start
from para_attn_server.pool.job_logs import JobLogs
from para_attn_server.pool.publishing import Publisher
from para_attn_server.pool.run import GROUP_LOST, Ending, Lost
from para_attn_server.pool.transitions import Change, Transitions
from para_attn_server.pool.write_queue import Work, WriteQueue
from para_attn_server.stores.base import JobStore, Progress

log = structlog.get_logger()


class Endings:
    """max_attempts: how often a job is tried. names: what log lines say of a job."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        writes: WriteQueue,
        transitions: Transitions,
        logs: JobLogs,
        outputs: Publisher,
        names: Callable[[str], dict[str, str]],
        max_attempts: int,
    ) -> None:
        self._dispatcher, self._writes, self._transitions, self._logs = dispatcher, writes, transitions, logs
        self._outputs, self._names, self._max_attempts = outputs, names, max_attempts

    # job: as it was when its run began; None where it has been ended meanwhile, by a cancel.

    def ended(self, job: Job | None, outcome: Ending, progress: Progress) -> None:
        """A run has come to its end: that of its job."""
        if job is not None:
            self._write(job, partial(self._end, job, outcome, progress, time.time()))

    def lost(self, job: Job | None, lost: Lost) -> None:
        """A run came to nothing."""
        if job is not None:
            self._write(job, partial(self._lose, job, lost, time.time()))

    def give_back(self, job: Job, cause: str, charge: bool, now: float, store: JobStore) -> Job:
        """In the store's thread: a running job whose ranks are gone goes back to its place in the queue; canceled, if
        it was to be. charge: whether the run counts as an attempt."""
        if job.cancel_requested:
            return store.cancel(job.id, now, run=job.run_id)
        return store.requeue(job.id, cause, charge=charge, now=now, run=job.run_id)

    def _write(self, job: Job, make_change: Callable[[], Change]) -> None:
        record = _Record(self._dispatcher, self._transitions, self._logs, job.id, make_change)

        def undone(error: Exception) -> None:
            record.undone()
            if not isinstance(error, ServerError):  # a fault of this program: the job must not run for ever
                self._writes.write(lambda: self._transitions.work(partial(_fail, job, time.time())))

        self._writes.write(record.prepare, undone)

    def _end(self, job: Job, outcome: Ending, progress: Progress, now: float) -> Change:
        if isinstance(outcome, Result) and (why := self._outputs.unfit(job.id, outcome.outputs)) is not None:
            outcome = JobError("output_unwritable", why)

        def end(store: JobStore) -> list[Job]:
            try:
                return [_ended(store, job, outcome, progress, now)]
            except ServerError:
                raise
            except Exception:
                log.exception("the end of a job cannot be written as it was", **self._names(job.id))
                return _fail(job, now, store)

        return end

    def _lose(self, started: Job, lost: Lost, now: float) -> Change:
        def lose(store: JobStore) -> list[Job]:
            job = store.get(started.id)
            if job is None or job.run_id != started.run_id:
                return []
            return [self._lost(store, job, lost, now)]

        return lose

    def _lost(self, store: JobStore, job: Job, lost: Lost, now: float) -> Job:
        if lost.charge and job.attempts >= self._max_attempts and not job.cancel_requested:
            return store.fail(job.id, _last_attempt(lost.error, job.attempts), now, run=job.run_id)
        return self.give_back(job, lost.error.message, lost.charge, now, store)


class _Record:
    """One end on its way into the store, with the starts that are due at that moment."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        transitions: Transitions,
        logs: JobLogs,
        job_id: str,
        make_change: Callable[[], Change],
    ) -> None:
        self._dispatcher, self._transitions, self._logs = dispatcher, transitions, logs
        self._job_id, self._make_change = job_id, make_change
        self._starts: list[Start] = []

    def prepare(self) -> Work:
        """The starts come first: they need not wait until the output has its name."""
        change = self._make_change()
        self._logs.pack(self._job_id)
        self._starts = self._dispatcher.choose()
        make = self._transitions.work(*self._dispatcher.changes(self._starts), change)

        def work(store: JobStore) -> Callable[[], None]:
            return partial(self._done, make(store))

        return work

    def _done(self, report: Callable[[], None]) -> None:
        report()
        self._dispatcher.settle(self._starts)
        self._logs.unpack(self._job_id)  # where nothing was there to be recorded
        self._dispatcher.dispatch()

    def undone(self) -> None:
        """Everything is as before."""
        self._logs.unpack(self._job_id)
        self._dispatcher.give_up(self._starts)
        self._starts = []


def _ended(store: JobStore, job: Job, outcome: Ending, progress: Progress, now: float) -> Job:
    if isinstance(outcome, Result):
        queue = None if job.queued_seconds is None else round(job.queued_seconds, 6)
        outcome = replace(outcome, timings={**(outcome.timings or {}), "queue": queue})
        return store.succeed(job.id, outcome, now, progress, run=job.run_id)
    if isinstance(outcome, JobError):
        return store.fail(job.id, outcome, now, progress, run=job.run_id)
    return store.cancel(job.id, now, progress, run=job.run_id)


def _fail(job: Job, now: float, store: JobStore) -> list[Job]:
    error = JobError("internal", "the server could not record how the job ended")
    return [store.fail(job.id, error, now, run=job.run_id)]


def _last_attempt(error: JobError, attempts: int) -> JobError:
    """A job that took its group down again and again is poison: no group is risked on it any more."""
    if attempts < 2 or error.type not in GROUP_LOST:
        return error
    message = f"its worker group was lost in attempt {attempts}, its last: {error.message}"
    return replace(error, type="poison", message=message)
