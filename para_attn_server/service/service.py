"""The service: submit, view, wait for and cancel jobs. Every HTTP dialect calls this and nothing below it.

It inserts and reads; transitions are the controller's. No Flask in here, and nothing that knows of processes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterable
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
    JobActive,
    NotAccepting,
    NothingToCancel,
    OutputEvicted,
    OutputExpired,
    QueueFull,
    StoreUnavailable,
    UploadNotFound,
)
from para_attn_server.core.job import Job, JobStatus, NewJob, Output, Removal
from para_attn_server.core.settings import Settings
from para_attn_server.core.steady import steady
from para_attn_server.core.uploads import Upload
from para_attn_server.service import budget
from para_attn_server.service.caller import Caller
from para_attn_server.service.control_client import ControlClient
from para_attn_server.service.estimate import retry_after
from para_attn_server.service.job_events import JobEvents, Stream
from para_attn_server.service.job_request import JobRequest
from para_attn_server.service.job_view import (
    JobLog,
    JobPage,
    JobView,
    ModelView,
    OutputUse,
    ServerView,
    WholeJob,
    log_text,
)
from para_attn_server.service.live_jobs import LOOK_AGAIN_SOON, LiveJobs, not_found
from para_attn_server.service.model_info import ModelInfo
from para_attn_server.service.models import Models
from para_attn_server.service.uploads import OffLoop, Uploads, in_place
from para_attn_server.stores.base import JobFilter, JobStore, Place, place_of

log = structlog.get_logger()
_LOOK_AGAIN_UP, _LOOK_AGAIN_DOWN = 5.0, 0.5
_CANCEL_SLACK = 10.0
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

    def remove(self, job_id: str, output: Output, modified_before: float) -> bool:
        """Remove that file, unless it is another job's or a person's by now; raises OSError."""


class JobService:
    """The one entrance to jobs for a web worker. Thread-safe as far as its store is. off_loop: see Uploads."""

    def __init__(
        self,
        store: JobStore,
        control: ControlClient,
        outputs: Outputs,
        settings: Settings,
        off_loop: OffLoop[Any] = in_place,
    ) -> None:
        self._store = store
        self._control = control
        self._outputs = outputs
        self._settings = settings
        self._models = Models(store, control)
        self._uploads = Uploads(store, settings, off_loop)
        self._waiters = budget.waiters(settings.web_connections)
        self._cancelers = budget.cancelers(settings.web_connections)
        self._stopping = False
        self._jobs = LiveJobs(store, control, self._models.why_waiting)
        self._events = JobEvents(store, control, self._jobs, self._waiters)

    # --- what the server can do ---

    def model_info(self, caller: Caller, model: str | None = None) -> ModelInfo:
        """A model's request schema with its check. model: its name, None for the default one.

        Raises ModelNotFound, or NotAccepting until the model has reported one.
        """
        return self._models.info(model)

    def models(self, caller: Caller) -> list[ModelView]:
        """The models, the default one first."""
        try:
            return self._models.views()
        except StoreUnavailable as error:
            raise self._jobs.explained(error) from error

    def readiness(self, model: str | None = None) -> list[str]:
        """The models whose jobs, accepted now, will be run: by a living controller and some group.

        Raises NotAccepting or StoreUnavailable, saying why there are none, or why that one is none of them, and
        ModelNotFound.
        """
        if not self._control.alive:
            raise NotAccepting("the controller does not respond")
        self.accepting()
        pool = self._control.pool()
        if pool is not None and pool.trouble is not None:
            raise NotAccepting(pool.trouble)
        if model is None:
            return self._models.ready()
        self._models.accepting(model)
        return [model]

    def beat(self) -> None:
        """Show the controller that this process's loop goes round; call it once a second, from that loop."""
        self._control.beat()

    def accepting(self) -> None:
        """Returns when new work is taken, whatever the model; raises NotAccepting saying why not.

        A controller that is away is no reason: an accepted job is on disk and waits for it.
        """
        pool = self._control.pool()
        if pool is not None and pool.stopping:
            raise NotAccepting("the server is stopping")
        try:
            self._store.usable()
        except StoreUnavailable as error:
            raise self._jobs.explained(error) from error
        if pool is not None and pool.held:
            raise NotAccepting(pool.trouble or "the server cannot run jobs now")

    def server(self, caller: Caller) -> ServerView | None:
        """The server now, None when the controller does not respond; waits up to a second for its first word."""
        pool = self._control.pool(1.0)
        if pool is None or not self._control.alive:
            return None
        try:
            use = OutputUse(self._store.output_totals(), self._settings.max_output_bytes)
            pool = dataclasses.replace(pool, notices=[*pool.notices, *self._models.notices()])
            return ServerView(pool, self._control.queue, self._store.counts(), use, self._control.lag)
        except StoreUnavailable as error:
            raise self._jobs.explained(error) from error

    # --- files that jobs take ---

    def upload(self, caller: Caller, blocks: Iterable[bytes], pointer: str = "#") -> Upload:
        """Keep a file that the caller sends; see Uploads.keep."""
        return self._uploads.keep(caller.owner, blocks, pointer)

    def uploaded(self, caller: Caller, digest: str) -> Upload:
        """What is known of an upload of the caller's; raises UploadNotFound."""
        return self._uploads.find(caller.owner, digest)

    # --- one job ---

    def submit(self, caller: Caller, request: JobRequest) -> Job:
        """Check a request and put it into the queue; on disk when this returns.

        A request that came before under its key is answered with its job, whatever the server's state.
        Raises InvalidInput, ModelNotFound, NotAccepting, InsufficientStorage, QueueFull or IdempotencyConflict.
        """
        digest = None if request.key is None else _digest(request)
        if request.key is not None and digest is not None:
            known = self._store.by_key(caller.owner, request.key, digest)
            if known is not None:
                return known
        self.accepting()
        self._models.accepting(request.model)
        job = self._inserted(self._new_job(caller, request, digest))
        self._control.submitted(job, request.request_id)
        self._jobs.note(job)
        log.info("job accepted", job=job.id)
        return job

    def _new_job(self, caller: Caller, request: JobRequest, digest: str | None) -> NewJob:
        info = self._models.info(request.model)
        body, inputs = self._uploads.take(caller.owner, info.inputs, request.body)
        arguments = info.validator.validate(body)
        requested = arguments.pop(OUTPUT_PATH, None)
        new = NewJob(
            arguments,
            output_path="",
            idempotency_key=request.key,
            request_digest=digest,
            seed=arguments.get(SEED),
            model=info.name,
            owner=caller.owner,
            api=request.api,
            metadata=request.metadata,
            shape=info.shaper.shape(arguments),
            inputs=inputs,
            **request.wishes.by_the_steady_clock(),
        )
        path = self._outputs.resolve(requested, new.id, info.output_suffix, time.time())
        return dataclasses.replace(new, output_path=str(path), output_root=str(self._outputs.root.resolve()))

    def _inserted(self, new: NewJob) -> Job:
        try:
            return self._store.insert(new, self._settings.max_queue, time.time())
        except QueueFull as error:
            raise QueueFull(self._settings.max_queue, retry_after(self._control.queue.next_start, steady())) from error
        except UploadNotFound as error:  # removed in this moment
            raise InvalidInput([FieldError("#", str(error))]) from None

    def view(self, caller: Caller, job_id: str) -> JobView:
        """The job now, with its live step; raises JobNotFound."""
        return self._jobs.view(self._row(caller, job_id))

    def job(self, caller: Caller, job_id: str) -> WholeJob:
        """All that is known of the job; raises JobNotFound."""
        view = self.view(caller, job_id)
        try:
            return WholeJob(view, self._store.arguments(job_id), self._store.history(job_id))
        except StoreUnavailable as error:
            raise self._jobs.explained(error) from error

    def jobs(self, caller: Caller, wanted: JobFilter, limit: int, behind: Place | None = None) -> JobPage:
        """The newest jobs that fit and that the caller may see. behind: the `next` of the page before."""
        if not caller.sees_every_job:
            if not caller.sees(wanted.owner or caller.owner):
                return JobPage([], None)
            wanted = dataclasses.replace(wanted, owner=caller.owner)
        try:
            found = self._store.listed(wanted, limit + 1, behind)
        except StoreUnavailable as error:
            raise self._jobs.explained(error) from error
        shown = found[:limit]
        more = place_of(shown[-1]) if len(found) > limit else None
        return JobPage([self._jobs.listed(job) for job in shown], more)

    def delete(self, caller: Caller, job_id: str) -> None:
        """Remove a job that has ended, its files first. Raises JobNotFound, JobActive, OSError where a file stays."""
        job = self._jobs.stored(job_id)
        if job is None or not caller.sees(job.owner):
            raise not_found(job_id)
        if not job.status.terminal:
            raise JobActive(f"job {job_id} is {job.status}; cancel it first")
        for output in () if job.outputs_removed_at is not None else job.outputs:
            self._outputs.remove(job_id, output, job.finished_at or 0.0)
        self._store.delete([job_id])
        self._jobs.forget(job_id)
        log.info("job deleted", job=job_id)

    def open(self, job: Job, output: Output) -> BufferedReader:
        """The file of an output of a job that has succeeded, where it is still there; else raises OutputGone, or what
        says why the server has removed it."""
        if job.outputs_removed_at is not None:
            gone = OutputEvicted if job.outputs_removed_for == Removal.EVICTED else OutputExpired
            raise gone(job.outputs_removed_at)
        return self._outputs.open(job.id, output)

    def log(self, caller: Caller, job_id: str, after: int = 0) -> JobLog:
        """The job's log behind the cursor `after`; raises JobNotFound."""
        status = self._row(caller, job_id).status
        parts: list[str] = []
        while rows := self._store.log_rows(job_id, after, LOG_ROWS_AT_ONCE):
            parts += map(log_text, rows)
            after = rows[-1].id
            time.sleep(0)  # in a web worker others take their turn
        return JobLog(status, "".join(parts), after)

    def events(self, caller: Caller, job_id: str, after: str | None = None) -> Stream | None:
        """The job's events as they come (job_events.py), until it has ended. after: only those behind that id.

        None where it has ended and all was seen. Raises JobNotFound or StoreUnavailable, before the first event.
        """
        job = self._row(caller, job_id)
        try:
            return self._events.stream(job, after)
        except StoreUnavailable as error:
            raise self._jobs.explained(error) from error

    def wait(self, caller: Caller, job_id: str, seconds: float) -> JobView:
        """The job once it has ended, or as it is after `seconds`, or when nothing will move it here any more (the
        server is stopping and the job is still queued), or at once when as many wait as may. Raises JobNotFound."""
        if not caller.sees_every_job:
            self._row(caller, job_id)
        with self._waiters.place() as free:
            return self._waited(job_id, seconds if free else 0.0)

    def _waited(self, job_id: str, seconds: float) -> JobView:
        deadline = time.monotonic() + seconds
        with self._control.watch(job_id) as woken:
            # Registered first, then looked: a change in between is seen by one of the two.
            while True:
                woken.clear()
                job = self._jobs.row_soon(job_id, min(deadline, time.monotonic() + _PUT_BACK_WITHIN))
                left = deadline - time.monotonic()
                if job.status.terminal or left <= 0 or self._idle_for(job):
                    return self._jobs.view(job)
                woken.wait(min(left, self._look_again(job_id)))

    def cancel(self, caller: Caller, job_id: str | None = None) -> JobView:
        """Cancel a job (None: the oldest running one) and wait until it has ended: all ranks have left it.

        Returns it as it ended, or as it is when cancel_timeout and 10 s more have passed, when as many wait as may, or
        at once where its end cannot be written now: a running job is left all the same, whatever the store does.
        Raises JobNotFound, NothingToCancel, ControllerUnreachable, or StoreUnavailable where a queued job cannot be
        canceled.
        """
        if not caller.sees_every_job:
            job_id = self._own(caller, job_id)
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
            self._jobs.keep(reply.job, self._control.live(reply.job_id))
            if reply.unwritten is not None:
                return JobView(self._jobs.row(reply.job_id))
        with self._cancelers.place() as free:
            return self._waited(reply.job_id, deadline - time.monotonic() if free else 0.0)

    def _own(self, caller: Caller, job_id: str | None) -> str:
        """The id of a job of the caller's: that one, or their oldest running one."""
        if job_id is not None:
            return self._row(caller, job_id).id
        running = (job.id for job in self._store.running() if caller.sees(job.owner))
        if (oldest := next(running, None)) is None:
            raise NothingToCancel("no job is running")
        return oldest

    def _check_cancelable(self, job_id: str | None) -> None:
        with suppress(StoreUnavailable):
            if job_id is not None and self._jobs.row(job_id).status.terminal:
                raise NothingToCancel(f"job {job_id} has already ended")

    def stop_waiting(self) -> None:
        """Answer everybody who waits, now and from now on; all else goes on."""
        self._stopping = self._events.stopping = True
        self._control.wake_all()

    def close(self) -> None:
        """Give up the control channel and the store."""
        self.stop_waiting()
        self._control.close()
        self._store.close()

    # --- inside ---

    def _row(self, caller: Caller, job_id: str) -> Job:
        """The job's row. One of somebody else is not there."""
        job = self._jobs.row(job_id)
        if not caller.sees(job.owner):
            raise not_found(job_id)
        return job

    def _idle_for(self, job: Job) -> bool:
        pool = self._control.pool()
        stopping = pool is not None and pool.stopping
        return self._stopping or (stopping and job.status is JobStatus.QUEUED)

    def _look_again(self, job_id: str) -> float:
        if not self._control.connected:
            return _LOOK_AGAIN_DOWN
        news = self._control.live(job_id)
        ended = news is not None and JobStatus(news.update.status).terminal
        return LOOK_AGAIN_SOON if ended else _LOOK_AGAIN_UP


def _digest(request: JobRequest) -> str:
    asked = request.body if request.model is None else {"model": request.model, "body": request.body}
    try:
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    except RecursionError:  # the parser of the request stood higher on the stack
        raise InvalidInput([FieldError("#", "is nested too deeply")]) from None
