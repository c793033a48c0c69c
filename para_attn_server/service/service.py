"""The service: submit, view, wait for and cancel jobs. Every HTTP dialect calls this and nothing below it.

It inserts and reads; transitions are the controller's. No Flask in here, and nothing that knows of processes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, Protocol

import structlog

from para_attn_server.core.arguments import OUTPUT_PATH, SEED
from para_attn_server.core.errors import (
    ControllerUnreachable,
    FieldError,
    InvalidInput,
    JobNotFound,
    NotAccepting,
    NothingToCancel,
    OutputEvicted,
    OutputExpired,
    QueueFull,
    StoreUnavailable,
)
from para_attn_server.core.job import Job, JobStatus, NewJob, Output, Removal
from para_attn_server.core.settings import Settings
from para_attn_server.core.steady import steady
from para_attn_server.core.wire.control import Beat, PoolView, QueueView
from para_attn_server.service import budget
from para_attn_server.service.control_client import ControlClient
from para_attn_server.service.estimate import retry_after, running_seconds_left
from para_attn_server.service.job_view import JobLog, JobView, OutputUse, log_text
from para_attn_server.service.model_info import ModelInfo, ModelInfoReader
from para_attn_server.service.news import JobNews
from para_attn_server.service.wishes import NO_WISHES, Wishes
from para_attn_server.stores.base import JobStore, QueueCounts

log = structlog.get_logger()
_LOOK_AGAIN_UP, _LOOK_AGAIN_DOWN, _LOOK_AGAIN_SOON = 5.0, 0.5, 0.02
_CANCEL_SLACK = 10.0
_ROWS_KEPT = 64
_SEEN_KEPT = 256
_PUT_BACK_WITHIN = 1.0
LOG_ROWS_AT_ONCE = 200
"""Rows of a log that are read in one go: the web worker has others to serve meanwhile."""


class Outputs(Protocol):
    """Where outputs are (outputs/folder.py)."""

    root: Path

    def resolve(self, requested: str | None, job_id: str, suffix: str, now: float) -> Path:
        """The absolute path of a job's output; raises InvalidInput where it may not or cannot be, InsufficientStorage
        where there is no room for it."""

    def open(self, job_id: str, output: Output) -> BufferedReader:
        """The file of a job that has succeeded; raises OutputGone."""


class JobService:
    """The one entrance to jobs for a web worker. Thread-safe as far as its store is."""

    def __init__(self, store: JobStore, control: ControlClient, outputs: Outputs, settings: Settings) -> None:
        self._store = store
        self._control = control
        self._outputs = outputs
        self._settings = settings
        self._models = ModelInfoReader(store)
        self._waiters = budget.waiters(settings.web_connections)
        self._cancelers = budget.cancelers(settings.web_connections)
        self._stopping = False
        self._rows: OrderedDict[str, tuple[int, Job]] = OrderedDict()
        self._seen: OrderedDict[str, Job] = OrderedDict()

    # --- what the server can do ---

    def model_info(self) -> ModelInfo:
        """The model's request schema with its check; raises NotAccepting until the model has reported one."""
        info = self._models.current()
        if info is None:
            raise NotAccepting("the model is still being loaded; its arguments are not known yet")
        return info

    def readiness(self) -> None:
        """Returns when what is accepted now will be run, by a living controller and some group; else raises
        NotAccepting or StoreUnavailable, saying why not."""
        if not self._control.alive:
            raise NotAccepting("the controller does not respond")
        self.accepting()
        pool = self._control.pool()
        if pool is not None and pool.trouble is not None:
            raise NotAccepting(pool.trouble)

    def beat(self) -> None:
        """Show the controller that this process's loop goes round; call it once a second, from that loop."""
        self._control.beat()

    def accepting(self) -> None:
        """Returns when new work is taken; raises NotAccepting saying why not.

        A controller that is away is no reason: an accepted job is on disk and waits for it.
        """
        pool = self._control.pool()
        if pool is not None and pool.stopping:
            raise NotAccepting("the server is stopping")
        if pool is not None and (broken := pool.broken) is not None:
            raise NotAccepting(f"no worker group works: {broken}")
        try:
            self._store.usable()
        except StoreUnavailable as error:
            raise self._explained(error) from error
        if pool is not None and pool.held:
            raise NotAccepting(pool.trouble or "the server cannot run jobs now")
        self.model_info()

    def pool(self, timeout: float = 1.0) -> PoolView | None:
        """The pool now, None when the controller does not respond; waits up to `timeout` seconds for a first word."""
        pool = self._control.pool(timeout)
        return pool if self._control.alive else None

    def lag(self) -> Beat:
        """How late the controller's loop was so far."""
        return self._control.lag

    def counts(self) -> QueueCounts:
        """Jobs by status."""
        try:
            return self._store.counts()
        except StoreUnavailable as error:
            raise self._explained(error) from error

    def outputs(self) -> OutputUse:
        """The output files that are kept."""
        try:
            return OutputUse(self._store.output_totals(), self._settings.max_output_bytes)
        except StoreUnavailable as error:
            raise self._explained(error) from error

    # --- jobs ---

    def submit(
        self,
        body: Mapping[str, Any],
        key: str | None = None,
        wishes: Wishes = NO_WISHES,
        request_id: str | None = None,
    ) -> Job:
        """Check a request and put it into the queue; on disk when this returns.

        key: the client's Idempotency-Key; a request that came before under it is answered with its job, whatever the
        server's state. request_id: the request's name, for the log.
        Raises InvalidInput, NotAccepting, InsufficientStorage, QueueFull or IdempotencyConflict.
        """
        digest = None if key is None else _digest(body)
        if key is not None and digest is not None and (known := self._store.by_key(key, digest)) is not None:
            return known
        self.accepting()
        info = self.model_info()
        arguments = info.validator.validate(body)
        requested = arguments.pop(OUTPUT_PATH, None)
        new = NewJob(
            arguments,
            output_path="",
            idempotency_key=key,
            request_digest=digest,
            seed=arguments.get(SEED),
            model=info.name,
            shape=info.shaper.shape(arguments),
            **wishes.by_the_steady_clock(),
        )
        path = self._outputs.resolve(requested, new.id, info.output_suffix, time.time())
        new = dataclasses.replace(new, output_path=str(path), output_root=str(self._outputs.root.resolve()))
        job = self._inserted(new)
        self._control.submitted(job, request_id)
        self._note(job)
        log.info("job accepted", job=job.id)
        return job

    def _inserted(self, new: NewJob) -> Job:
        try:
            return self._store.insert(new, self._settings.max_queue, time.time())
        except QueueFull as error:
            raise QueueFull(self._settings.max_queue, retry_after(self._control.queue.next_start, steady())) from error

    def queue(self) -> QueueView:
        """The queue as the controller has planned it."""
        return self._control.queue

    def view(self, job_id: str) -> JobView:
        """The job now, with its live step; raises JobNotFound."""
        return self._viewed(self._row(job_id))

    def open(self, job: Job, output: Output) -> BufferedReader:
        """The file of an output of a job that has succeeded, where it is still there; else raises OutputGone, or what
        says why the server has removed it."""
        if job.outputs_removed_at is not None:
            gone = OutputEvicted if job.outputs_removed_for == Removal.EVICTED else OutputExpired
            raise gone(job.outputs_removed_at)
        return self._outputs.open(job.id, output)

    def log(self, job_id: str, after: int = 0) -> JobLog:
        """The job's log behind the cursor `after`; raises JobNotFound."""
        status = self._row(job_id).status
        parts: list[str] = []
        while rows := self._store.log_rows(job_id, after, LOG_ROWS_AT_ONCE):
            parts += map(log_text, rows)
            after = rows[-1].id
            time.sleep(0)  # in a web worker others take their turn
        return JobLog(status, "".join(parts), after)

    def wait(self, job_id: str, seconds: float) -> JobView:
        """The job once it has ended, or as it is after `seconds`, or when nothing will move it here any more (the
        server is stopping and the job is still queued), or at once when as many wait as may. Raises JobNotFound."""
        with self._waiters.place() as free:
            return self._waited(job_id, seconds if free else 0.0)

    def _waited(self, job_id: str, seconds: float) -> JobView:
        deadline = time.monotonic() + seconds
        with self._control.watch(job_id) as woken:
            # Registered first, then looked: a change in between is seen by one of the two.
            while True:
                woken.clear()
                job = self._row_soon(job_id, min(deadline, time.monotonic() + _PUT_BACK_WITHIN))
                left = deadline - time.monotonic()
                if job.status.terminal or left <= 0 or self._idle_for(job):
                    return self._viewed(job)
                woken.wait(min(left, self._look_again(job_id)))

    def cancel(self, job_id: str | None = None) -> JobView:
        """Cancel a job (None: the oldest running one) and wait until it has ended: all ranks have left it.

        Returns it as it ended, or as it is when cancel_timeout and 10 s more have passed, when as many wait as may, or
        at once where its end cannot be written now: a running job is left all the same, whatever the store does.
        Raises JobNotFound, NothingToCancel, ControllerUnreachable, or StoreUnavailable where a queued job cannot be
        canceled.
        """
        deadline = time.monotonic() + self._settings.cancel_timeout + _CANCEL_SLACK
        try:
            reply = self._control.cancel(job_id, timeout=_CANCEL_SLACK)
        except ControllerUnreachable:
            self._check_cancelable(job_id)
            raise
        if reply.job_id is None:
            self._check_cancelable(job_id)
            raise NothingToCancel("no job is running" if job_id is None else f"job {job_id} has already ended")
        if reply.job is not None:
            self._keep(reply.job, self._control.live(reply.job_id))
            if reply.unwritten is not None:
                return JobView(self._row(reply.job_id))
        with self._cancelers.place() as free:
            return self._waited(reply.job_id, deadline - time.monotonic() if free else 0.0)

    def _check_cancelable(self, job_id: str | None) -> None:
        with suppress(StoreUnavailable):
            if job_id is not None and self._row(job_id).status.terminal:
                raise NothingToCancel(f"job {job_id} has already ended")

    def stop_waiting(self) -> None:
        """Answer everybody who waits, now and from now on; all else goes on."""
        self._stopping = True
        self._control.wake_all()

    def close(self) -> None:
        """Give up the control channel and the store."""
        self.stop_waiting()
        self._control.close()
        self._store.close()

    # --- inside ---

    def _explained(self, error: StoreUnavailable) -> StoreUnavailable:
        """With the controller's reason where it has one: it knows what it has kept, say."""
        pool = self._control.pool()
        known = pool.trouble if pool is not None and pool.held else None
        return StoreUnavailable(str(error), known or error.public)

    def _viewed(self, job: Job) -> JobView:
        if job.status is JobStatus.QUEUED:
            return self._viewed_queued(job)
        if job.status is not JobStatus.RUNNING:
            return JobView(job)
        self._control.follow(job.id)
        return JobView(job, None, running_seconds_left(job, self._control.queue.running.get(job.id), steady()))

    def _viewed_queued(self, job: Job) -> JobView:
        """As the controller has planned it: nothing is counted here."""
        place, ends = self._control.place(job.id) or (None, None)
        return JobView(job, place, None if ends is None else max(0.0, ends - steady()))

    def _idle_for(self, job: Job) -> bool:
        pool = self._control.pool()
        stopping = pool is not None and pool.stopping
        return self._stopping or (stopping and job.status is JobStatus.QUEUED)

    def _look_again(self, job_id: str) -> float:
        if not self._control.connected:
            return _LOOK_AGAIN_DOWN
        news = self._control.live(job_id)
        ended = news is not None and JobStatus(news.update.status).terminal
        return _LOOK_AGAIN_SOON if ended else _LOOK_AGAIN_UP

    def _row(self, job_id: str) -> Job:
        """The job's row with its live step. A running job's row is read once and kept while its live news say that
        nothing but the step has changed; every other row is read anew. While the store cannot be read, live news move
        on what was seen last."""
        news = self._control.live(job_id)
        kept = self._rows.get(job_id)
        if news is not None and kept is not None and kept[0] == news.life:
            return _with_step(kept[1], news)
        try:
            job = self._store.get(job_id)
        except StoreUnavailable as error:
            if (seen := self._moved_on(job_id, news)) is None:
                raise self._explained(error) from error
            return seen
        if job is None:
            raise JobNotFound(f"there is no job {job_id}")
        return self._keep(job, news)

    def _keep(self, job: Job, news: JobNews | None) -> Job:
        """The row with its live step; kept while it runs. news: those of the moment before the row was read."""
        self._note(job)
        if news is None or job.status is not JobStatus.RUNNING or news.update.status != job.status:
            return job
        self._rows[job.id] = (news.life, job)
        if len(self._rows) > _ROWS_KEPT:
            self._rows.popitem(last=False)
        return _with_step(job, news)

    def _row_soon(self, job_id: str, ends: float) -> Job:
        """The row. Where the store refuses it is asked again until then: files that were removed are soon put back."""
        while True:
            try:
                return self._row(job_id)
            except StoreUnavailable:
                if time.monotonic() >= ends:
                    raise
            time.sleep(_LOOK_AGAIN_SOON)

    def _note(self, job: Job) -> None:
        self._seen[job.id] = job
        self._seen.move_to_end(job.id)
        if len(self._seen) > _SEEN_KEPT:
            self._seen.popitem(last=False)

    def _moved_on(self, job_id: str, news: JobNews | None) -> Job | None:
        """What was seen of a job last, and what the controller has said of it since; None where that says too little:
        how a job ended is in the store alone."""
        job = self._seen.get(job_id)
        if job is None or job.status.terminal:
            return job
        if news is None:
            return job if self._control.alive else None
        status = JobStatus(news.update.status)
        return None if status.terminal else _with_step(dataclasses.replace(job, status=status), news)


def _with_step(job: Job, news: JobNews) -> Job:
    step = max(job.step, news.update.step)
    return dataclasses.replace(job, step=step, total_steps=news.update.total_steps or job.total_steps)


def _digest(body: Mapping[str, Any]) -> str:
    try:
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    except RecursionError:  # the parser of the request stood higher on the stack
        raise InvalidInput([FieldError("#", "is nested too deeply")]) from None
