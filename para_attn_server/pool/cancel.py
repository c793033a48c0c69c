"""Cancel orders of clients: what runs is left at once, whatever the store does; its row follows.

Only the cancel of a queued job waits for the store, since that is all there is to it. Stops that the server orders by
itself (a deadline, its own end) do not come this way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from para_attn_server.core.errors import StoreUnavailable
from para_attn_server.core.job import Job, RunId
from para_attn_server.core.wire.control import CancelOrder, CancelReply
from para_attn_server.pool.dispatcher import Dispatcher
from para_attn_server.pool.group import Group
from para_attn_server.pool.job_queue import JobQueue
from para_attn_server.pool.run import CANCEL, JobRun
from para_attn_server.pool.running_jobs import RunningJobs
from para_attn_server.pool.transitions import Transitions
from para_attn_server.pool.write_queue import Effect, WriteQueue
from para_attn_server.stores.base import JobStore

Reply = Callable[[CancelReply], None]


class Cancels:
    """Carries out cancel orders."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        queue: JobQueue,
        running: RunningJobs,
        writes: WriteQueue,
        transitions: Transitions,
    ) -> None:
        self._dispatcher, self._queue, self._writes, self._transitions = dispatcher, queue, writes, transitions
        self._asked: set[str] = set()  # jobs whose row does not say so yet
        self._running = running

    def order(self, order: CancelOrder, groups: Sequence[Group], reply: Reply) -> None:
        """Cancel that job, or the one that has been running longest; of those that are only written still, if none
        runs.

        The reply comes at once for a job that runs, is about to, or whose end waits to be written; else when the store
        has spoken.
        """
        at_work = _find(order.job_id, ((group, group.run) for group in groups if group.run))
        written = _find(order.job_id, ((group, run) for group in groups for run in group.writings.live))
        if at_work is not None:
            group, job_id = at_work
            group.stop_run(CANCEL)
            self._leave(job_id, partial(_request_cancel, self._running.run_of(job_id)), order, reply)
        elif written is not None:
            group, job_id = written
            self._leave(job_id, partial(_request_cancel, self._running.run_of(job_id)), order, reply)
            group.stop_writing(job_id, CANCEL)  # which ends it
        elif order.job_id is None:
            reply(CancelReply(order.request, None))
        elif (start := self._dispatcher.starting(order.job_id)) is not None:
            start.canceled = True
            reply(self._accepted(order, start.job.id, start.job))
        elif order.job_id in self._running:
            self._leave(order.job_id, self._cancel_unless_ended, order, reply)
        else:
            self._cancel_queued(order.job_id, order, reply)

    def _leave(self, job_id: str, work: Callable[[str, JobStore], object], order: CancelOrder, reply: Reply) -> None:
        if job_id not in self._asked:
            self._asked.add(job_id)
            self._writes.write(
                lambda: partial(self._noted, job_id, work), partial(self._not_noted, job_id), at_once=True
            )
        reply(self._accepted(order, job_id, self._running.get(job_id)))

    def _noted(self, job_id: str, work: Callable[[str, JobStore], object], store: JobStore) -> Effect:
        """In the store's thread."""
        made = work(job_id, store)
        return partial(self._settled, job_id, made if callable(made) else None)

    def _settled(self, job_id: str, report: Effect | None) -> None:
        self._asked.discard(job_id)
        if report is not None:
            report()

    def _not_noted(self, job_id: str, error: Exception) -> None:
        if not isinstance(error, StoreUnavailable):  # else it is tried again
            self._asked.discard(job_id)

    def _accepted(self, order: CancelOrder, job_id: str, job: Job | None) -> CancelReply:
        trouble = self._writes.trouble
        return CancelReply(order.request, job_id, job=job, unwritten=None if trouble is None else _reason(trouble))

    def _cancel_unless_ended(self, job_id: str, store: JobStore) -> Effect | None:
        """In the store's thread: of a run that is over, the end is on record before this."""
        job = store.get(job_id)
        if job is None or job.status.terminal:
            return None
        return self._transitions.work(partial(_cancel, job_id, job.run_id, time.time()))(store)

    def _cancel_queued(self, job_id: str, order: CancelOrder, reply: Reply) -> None:
        self._queue.withheld.add(job_id)

        def work(store: JobStore) -> Effect:
            report = self._cancel_unless_ended(job_id, store)
            return partial(done, report)

        def done(report: Effect | None) -> None:
            self._queue.withheld.discard(job_id)
            if report is not None:
                report()
            reply(CancelReply(order.request, None if report is None else job_id))

        def undone(error: Exception) -> None:
            self._queue.withheld.discard(job_id)
            why = _reason(error) if isinstance(error, StoreUnavailable) else "the server's log says more"
            reply(CancelReply(order.request, None, f"the job is not canceled: {why}"))

        self._writes.attempt(lambda: work, undone, at_once=True)


def _find(job_id: str | None, runs: Iterable[tuple[Group, JobRun]]) -> tuple[Group, str] | None:
    """The group and the job of that run, or of the oldest."""
    found = [(group, run) for group, run in runs if job_id in (None, run.job_id)]
    group, run = min(found, key=lambda each: each[1].started, default=(None, None))
    return None if group is None or run is None else (group, run.job_id)


def _request_cancel(run: RunId | None, job_id: str, store: JobStore) -> None:
    store.request_cancel(job_id, time.time(), run=run)


def _cancel(job_id: str, run: RunId | None, now: float, store: JobStore) -> Iterable[Job]:
    return [store.cancel(job_id, now, run=run)]


def _reason(error: StoreUnavailable) -> str:
    return error.public or "the queue cannot be written"
