"""The pool: all worker groups of one server, and the only place that moves jobs along.

What a group reports becomes a transition in the store, then news for the web workers. No call of the store is made
here, on the controller's loop: each is work for the store's thread. Knows nothing of processes, sockets or HTTP.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog

from para_attn_server.core.job import Job, JobStatus
from para_attn_server.core.steady import steady
from para_attn_server.core.wire.control import CancelOrder, JobUpdate, PoolView, ToWeb
from para_attn_server.core.wire.ranks import Emit, Failed, Ready
from para_attn_server.outputs.folder import OutputFolder
from para_attn_server.pool.backoff import SetupFailure
from para_attn_server.pool.cancel import Cancels, Reply
from para_attn_server.pool.dispatcher import Dispatcher
from para_attn_server.pool.ending import Endings
from para_attn_server.pool.group import Group
from para_attn_server.pool.job_logs import JobLogs, LogWriter
from para_attn_server.pool.job_queue import JobQueue
from para_attn_server.pool.life_log import LifeLog
from para_attn_server.pool.listener import GroupState
from para_attn_server.pool.live_events import LiveEvents
from para_attn_server.pool.look import Look
from para_attn_server.pool.model_info import ModelInfoWriter
from para_attn_server.pool.planner import COSTS_DOCUMENT, Planner
from para_attn_server.pool.progress import ProgressWriter
from para_attn_server.pool.publishing import Publisher
from para_attn_server.pool.run import Ending, Lost
from para_attn_server.pool.running_jobs import RunningJobs
from para_attn_server.pool.store_thread import StoreThread
from para_attn_server.pool.transitions import Transition, Transitions
from para_attn_server.pool.write_queue import WriteQueue
from para_attn_server.stores.base import JobStore, Progress

log = structlog.get_logger()

LOOK_EVERY = 0.5
"""Seconds between two looks for jobs whose hint was lost."""
MEAN_OVER = 20
"""Jobs over whose time the mean is taken that users see."""


class Pool:
    """Groups, queue and store brought together; also the GroupListener of its groups.

    model_info: remembers what the ranks report of the predictor. publish: sends news to all web workers.
    soon: calls a function a little later, once what is under way is done. on_setup_failed: gets the model and the
    reason of each failed setup. live: what the jobs emit.
    """

    def __init__(
        self,
        store: StoreThread,
        model_info: ModelInfoWriter,
        outputs: OutputFolder,
        max_attempts: int,
        publish: Callable[[ToWeb], None],
        soon: Callable[[Callable[[], None]], object],
        on_setup_failed: Callable[[str, SetupFailure], None],
        live: LiveEvents | None = None,
    ) -> None:
        self._model_info, self._publish, self._soon = model_info, publish, soon
        self._on_setup_failed = on_setup_failed
        self._started_at, self._started_steady = time.time(), steady()
        self._versions: dict[str, str] = {}
        self._seconds: deque[float] = deque(maxlen=MEAN_OVER)
        self.queue, self._writes, self._running = JobQueue(), WriteQueue(store), RunningJobs()
        self._live = live or LiveEvents()
        self._logs, self._life = JobLogs(self._live.rows_written), LifeLog(soon)
        self._progress = ProgressWriter(self._writes, soon)
        self._log_writer = LogWriter(self._logs, self._writes)
        self._outputs = Publisher(outputs, self._life.names)
        self._planner = Planner(self.queue, self._running, lambda: self._groups, model_info, publish)
        self._transitions = Transitions(self._observers(), durable=[self._logs.write_with])
        self._dispatcher = Dispatcher(
            uuid.uuid4().hex, self.queue, self._planner, self._writes, self._transitions, self._life.request_id
        )
        self._cancels = Cancels(self._dispatcher, self.queue, self._running, self._writes, self._transitions)
        parts = self._dispatcher, self._writes, self._transitions, self._logs, self._outputs
        self._endings = Endings(*parts, self._life.names, max_attempts)
        self._look = Look(self.queue, self._writes, self._transitions, self._dispatcher.dispatch)
        self._looked_at = 0.0
        self._view_is_due = False
        self.trouble: str | None = None
        self.refused = False
        self.notices: list[str] = []
        self.ever_ready = False

    def _observers(self) -> list[Callable[[Transition], None]]:
        return [
            lambda transition: self._dispatcher.observe(transition),
            self.queue.observe,
            self._planner.observe,  # learns from what has run, which is forgotten then
            self._running.observe,
            self._outputs.observe,
            self._logs.observe,
            self._life.observe,
            self._live.observe,
            self._note_seconds,
            self._notify_web,
        ]

    def start(self, groups: Sequence[Group]) -> None:
        """Put jobs that a former controller left running back into the queue, and launch the groups."""
        self._writes.write(lambda: self._recover)
        self._dispatcher.groups = groups
        for group in groups:
            group.start()

    # --- orders ---

    def submitted(self, job: Job, request_id: str | None) -> None:
        """A web worker has put a job into the queue, for the request of that name."""
        self._life.submitted(job.id, request_id)
        if job.id not in self._running and self._dispatcher.starting(job.id) is None:  # found before its hint
            self.queue.add(job)
            self._dispatcher.dispatch()

    def cancel(self, order: CancelOrder, reply: Reply) -> None:
        """Cancel a job; the reply may come later."""
        self._cancels.order(order, self._groups, reply)

    def tick(self, now: float) -> None:
        """Deadlines of the groups, and jobs whose hint was lost. now: monotonic seconds."""
        for group in self._groups:
            group.tick(now)
        self._writes.tick()
        self._look.expire()
        self._log_writer.write()
        self._planner.tick(now)
        if self._planner.unsaved(now):
            self._writes.attempt(self._planner.save, self._planner.not_saved)
        if now - self._looked_at < LOOK_EVERY:
            return
        self._looked_at = now
        self._outputs.catch_up()
        self._writes.flush()
        self._look.look()
        self._dispatcher.dispatch()

    def hold(self, trouble: str | None, held: bool, refused: bool) -> None:
        """Say why new jobs would fail, None when they would not. held, refused: none is started, or taken."""
        self.trouble, self._dispatcher.held, self.refused = trouble, held, refused
        self._publish(self.view())
        self._dispatcher.dispatch()

    def drain(self) -> None:
        """Start no further jobs; queued ones stay queued for the next start."""
        self._dispatcher.stopping = True
        self._publish(self.view())

    def rebuild(self, model: str, cause: str) -> None:
        """Start all ranks of a model anew; running jobs go back into the queue."""
        for group in self._groups:
            if group.model == model:
                group.rebuild(cause)

    def stop(self) -> None:
        """End all ranks; running jobs go back into the queue."""
        self._dispatcher.stopping = True
        for group in self._groups:
            group.stop()

    def close(self) -> None:
        """All ranks have ended: write what still waits to be written, as far as the store takes it."""
        self._writes.flush(at_once=True)
        self._writes.attempt(self._planner.save, self._planner.not_saved)
        self._outputs.catch_up()

    @property
    def settled(self) -> bool:
        """Whether nothing is being written, and nothing can be."""
        return not self._writes.under_way

    @property
    def busy(self) -> bool:
        """True while a job runs, is written or is about to start, or the end of one is not in the store yet."""
        at_work = any(group.run or group.writings.live for group in self._groups)
        return self._writes.pending or self._dispatcher.busy or at_work

    @property
    def idle(self) -> bool:
        """True while every group is ready for a job, and nothing waits to be written."""
        waits = self._writes.pending or self._logs.waiting or self._look.more_to_expire
        return not waits and all(g.state is GroupState.READY and not g.writings.live for g in self._groups)

    @property
    def stopped(self) -> bool:
        """True when no rank is left."""
        return all(group.stopped for group in self._groups)

    def view(self) -> PoolView:
        """The pool as users see it."""
        return PoolView(
            started_at=self._started_at,
            started_steady=self._started_steady,
            stopping=self._dispatcher.stopping,
            groups=[group.view() for group in self._groups],
            mean_seconds=sum(self._seconds) / len(self._seconds) if self._seconds else None,
            versions=self._versions,
            trouble=self.trouble,
            held=self.refused,
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
        model = self._groups[group].model
        log.info("worker group is ready", group=group, model=model, device=ready.device)
        self.ever_ready = True
        self._versions = ready.versions
        self._writes.write(lambda: lambda store: self._model_info.reported(store, model, ready))
        self.group_changed()
        self._dispatcher.dispatch()

    def setup_failed(self, group: int, failure: SetupFailure) -> None:
        model = self._groups[group].model
        log.error("setup failed", group=group, model=model, reason=str(failure))
        self._on_setup_failed(model, failure)

    def run_started(self, job_id: str) -> None:
        self._progress.started(job_id)

    def run_stepped(self, job_id: str, step: int, total: int | None) -> None:
        self._publish(JobUpdate(job_id, JobStatus.RUNNING, step, total))
        self._progress.stepped(job_id, self._running.run_of(job_id), step, total)
        self._planner.stepped(job_id, step, total)

    def run_logged(self, job_id: str, lines: Sequence[str], left_out: int) -> None:
        self._logs.add(job_id, lines, left_out)

    def run_emitted(self, job_id: str, piece: Emit) -> None:
        self._live.emitted(job_id, piece)

    def run_failed(self, job_id: str, cause: Failed) -> None:
        if cause.traceback:
            self._logs.traceback(job_id, cause.rank, cause.traceback)

    def run_ended(self, job_id: str, outcome: Ending, progress: Progress) -> None:
        self._progress.over(job_id)
        self._endings.ended(self._running.get(job_id), outcome, progress)

    def run_writing(self, job_id: str) -> None:
        """The end of its run is the next job's beginning; its own comes later."""
        self._planner.left(job_id)
        self.group_changed()
        self._dispatcher.dispatch()

    def writing_lost(self, job_id: str, lost: Lost) -> None:
        if not lost.charge:
            self._dispatcher.suspects.add(job_id)
        self.run_lost(job_id, lost)

    def group_free(self, group: int) -> None:
        self._dispatcher.dispatch()

    def run_lost(self, job_id: str, lost: Lost) -> None:
        self._progress.over(job_id)
        self._life.lost(job_id, lost.error.message)
        self._endings.lost(self._running.get(job_id), lost)

    # --- the inside ---

    @property
    def _groups(self) -> Sequence[Group]:
        return self._dispatcher.groups

    def _recover(self, store: JobStore) -> Callable[[], None]:
        """In the store's thread: what a former controller has left."""
        now = time.time()
        changes = [partial(_given_back, self._endings, job, now) for job in store.running()]
        known = store.mean_seconds(MEAN_OVER), store.document(COSTS_DOCUMENT)
        return partial(self._recovered, self._transitions.make(store, *changes), *known)

    def _recovered(self, transitions: list[Transition], mean: float | None, costs: dict[str, Any] | None) -> None:
        self._planner.restore(costs)
        self._seconds.extend(filter(None, [mean]))
        self._transitions.report(transitions)
        self.group_changed()
        self._look.look()

    def _note_seconds(self, transition: Transition) -> None:
        if transition.job.status is JobStatus.SUCCEEDED:
            self._seconds.append(transition.job.run_seconds or 0.0)

    def _notify_web(self, transition: Transition) -> None:
        job = transition.job
        self._publish(JobUpdate(job.id, job.status, job.step, job.total_steps))


def _given_back(endings: Endings, job: Job, now: float, store: JobStore) -> list[Job]:
    return [endings.give_back(job, "the server was restarted", False, now, store)]
