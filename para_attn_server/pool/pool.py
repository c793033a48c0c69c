"""The pool: all worker groups of one server, and the only place that moves jobs along.

What a group tells becomes a transition in the store, then news for the web workers. Knows nothing of processes,
sockets or HTTP.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from para_attn_server.core.channel import JobUpdate, PoolView, ToWeb
from para_attn_server.core.errors import IllegalTransition, JobError
from para_attn_server.core.job import Job, JobStatus, Output
from para_attn_server.core.messages import Ready
from para_attn_server.core.output import temporary_path
from para_attn_server.pool.group import Group
from para_attn_server.pool.listener import GroupState
from para_attn_server.pool.run import Outcome
from para_attn_server.pool.scheduler import assign
from para_attn_server.stores.base import JobStore

log = structlog.get_logger()

PROGRESS_EVERY = 0.1
"""Seconds between two writes of a job's step to the store; the web workers hear of each step at once."""
SCHEMA_DOCUMENT = "schema"


class Pool:
    """Groups, queue and store brought together; also the GroupListener of its groups.

    model: identifies the predictor in the schema document. publish: sends news to all web workers.
    on_setup_failed: told of each failed setup, with the rank's traceback.
    """

    def __init__(
        self,
        store: JobStore,
        model: str,
        max_attempts: int,
        publish: Callable[[ToWeb], None],
        on_setup_failed: Callable[[str, str], None],
    ) -> None:
        self._store, self._model, self._max_attempts = store, model, max_attempts
        self._publish, self._on_setup_failed = publish, on_setup_failed
        self._started_at = time.time()
        self._groups: Sequence[Group] = ()
        self._versions: dict[str, str] = {}
        self._mean_seconds = store.mean_seconds()
        self._store_version = -1
        self._written_at = 0.0
        self._unwritten: dict[str, tuple[int, int | None]] = {}
        self.stopping = False
        self.ever_ready = False

    def start(self, groups: Sequence[Group]) -> None:
        """Put jobs that a former parent left running back into the queue, and launch the groups."""
        for job in self._store.running():
            self._give_back(job, "the server was restarted")
        self._groups = groups
        for group in groups:
            group.start()

    # --- orders ---

    def dispatch(self) -> None:
        """Give queued jobs to free groups."""
        free = [group.index for group in self._groups if group.state is GroupState.READY]
        if not free or self.stopping:
            return
        for job, index in assign(self._store.queued(len(free)), free):
            self._groups[index].assign(self._store.start(job.id, index, time.time()))

    def cancel(self, job_id: str | None) -> str | None:
        """Cancel that job, or the oldest running one; the id of the job it is done to, None if there is none."""
        job = self._oldest_running() if job_id is None else self._store.get(job_id)
        if job is None or job.status.terminal:
            return None
        group = next((group for group in self._groups if group.run and group.run.job_id == job.id), None)
        if group is None:
            self._update(self._store.cancel(job.id, time.time()))
        else:
            self._store.request_cancel(job.id, time.time())
            group.cancel()
        return job.id

    def tick(self, now: float) -> None:
        """Deadlines of the groups, and jobs whose hint was lost. now: monotonic seconds."""
        for group in self._groups:
            group.tick(now)
        version = self._store.data_version()
        if version != self._store_version:
            self._store_version = version
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

    @property
    def busy(self) -> bool:
        """True while a job runs."""
        return any(group.run for group in self._groups)

    @property
    def stopped(self) -> bool:
        """True when no rank is left."""
        return all(group.stopped for group in self._groups)

    def view(self) -> PoolView:
        """The pool as users see it."""
        return PoolView(
            started_at=self._started_at,
            stopping=self.stopping,
            groups=[group.view() for group in self._groups],
            mean_seconds=self._mean_seconds,
            versions=self._versions,
        )

    # --- what the groups tell ---

    def group_changed(self) -> None:
        self._publish(self.view())

    def group_ready(self, group: int, ready: Ready) -> None:
        log.info("worker group is ready", group=group, device=ready.device)
        self.ever_ready = True
        self._versions = ready.versions
        document = {"model": self._model, "schema": ready.schema, "output_suffix": ready.output_suffix}
        if self._store.document(SCHEMA_DOCUMENT) != document:
            self._store.put_document(SCHEMA_DOCUMENT, document)
        self._publish(self.view())
        self.dispatch()

    def setup_failed(self, group: int, reason: str, traceback: str) -> None:
        log.error("setup failed", group=group, reason=reason)
        self._on_setup_failed(reason, traceback)

    def run_started(self, job_id: str) -> None:
        self._publish(JobUpdate(job_id, JobStatus.RUNNING, 0, None))

    def run_stepped(self, job_id: str, step: int, total: int | None) -> None:
        self._publish(JobUpdate(job_id, JobStatus.RUNNING, step, total))
        self._unwritten[job_id] = (step, total)
        now = time.monotonic()
        if now - self._written_at >= PROGRESS_EVERY or step == total:
            self._written_at = now
            self._write_progress(job_id)

    def run_logged(self, job_id: str, text: str) -> None:
        self._store.log(job_id, text, time.time())

    def run_ended(self, job_id: str, outcome: Outcome) -> None:
        now = time.time()
        self._write_progress(job_id)
        if isinstance(outcome, Output):
            job = self._store.succeed(job_id, outcome, now)
            self._mean_seconds = self._store.mean_seconds()
        elif isinstance(outcome, JobError):
            job = self._store.fail(job_id, outcome, now)
        else:
            job = self._store.cancel(job_id, now)
        log.info("job ended", job=job_id, status=job.status.value, group=job.group)
        self._update(job)
        self.dispatch()

    def run_lost(self, job_id: str, error: JobError) -> None:
        job = self._store.get(job_id)
        if job is None:
            return
        _remove_half_written(job)
        self._unwritten.pop(job_id, None)
        if self.stopping:
            self._give_back(job, error.message)
        elif job.cancel_requested:
            self._update(self._store.cancel(job_id, time.time()))
        elif job.attempts >= self._max_attempts:
            self._update(self._store.fail(job_id, _last_attempt(error, job.attempts), time.time()))
        else:
            log.warning("job goes back into the queue", job=job_id, cause=error.message, attempts=job.attempts)
            self._update(self._store.requeue(job_id, error.message, charge=True, now=time.time()))
            self.dispatch()

    # --- the inside ---

    def _write_progress(self, job_id: str) -> None:
        if job_id in self._unwritten:
            self._store.progress(job_id, *self._unwritten.pop(job_id), time.time())

    def _give_back(self, job: Job, cause: str) -> None:
        """A running job whose end the server itself brought about: not the job's fault, so it is not charged."""
        _remove_half_written(job)
        with contextlib.suppress(IllegalTransition):
            if job.cancel_requested:
                self._update(self._store.cancel(job.id, time.time()))
            else:
                self._update(self._store.requeue(job.id, cause, charge=False, now=time.time()))

    def _oldest_running(self) -> Job | None:
        return next(iter(self._store.running()), None)

    def _update(self, job: Job) -> None:
        self._publish(JobUpdate(job.id, job.status, job.step, job.total_steps))


def _last_attempt(error: JobError, attempts: int) -> JobError:
    """A job that took its group down every time is poison: no group is risked on it again."""
    if attempts < 2:
        return error
    message = f"its worker group was lost in each of {attempts} attempts, last because: {error.message}"
    return replace(error, type="poison", message=message)


def _remove_half_written(job: Job) -> None:
    """What a dead rank zero was writing, if it was."""
    temporary = temporary_path(Path(job.output_path), job.id)
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
