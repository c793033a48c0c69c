"""Jobs as they are now: rows of the store, moved on by what the controller has said since.

Reads only. Who may see a job is for `service.py` to say.
"""

from __future__ import annotations

import dataclasses
import time
from collections import OrderedDict
from collections.abc import Callable

from para_attn_server.core.errors import JobNotFound, StoreUnavailable
from para_attn_server.core.job import Job, JobStatus
from para_attn_server.core.steady import steady
from para_attn_server.service.control_client import ControlClient
from para_attn_server.service.estimate import running_seconds_left
from para_attn_server.service.job_view import JobView
from para_attn_server.service.news import JobNews
from para_attn_server.stores.base import JobStore

LOOK_AGAIN_SOON = 0.02
"""Seconds after which a store that refuses is asked again, or a row that must change in a moment."""
_ROWS_KEPT = 64
_SEEN_KEPT = 256


class LiveJobs:
    """The jobs of a web worker's store and control channel. why_waiting: why a queued job cannot start, if so."""

    def __init__(
        self, store: JobStore, control: ControlClient, why_waiting: Callable[[Job], str | None] = lambda _: None
    ) -> None:
        self._store, self._control, self._why_waiting = store, control, why_waiting
        self._rows: OrderedDict[str, tuple[int, Job]] = OrderedDict()
        self._seen: OrderedDict[str, Job] = OrderedDict()

    def row(self, job_id: str) -> Job:
        """The job's row with its live step; raises JobNotFound.

        A running job's row is read once and kept while its live news say that nothing but the step has changed; every
        other row is read anew. While the store cannot be read, live news move on what was seen last.
        """
        news = self._control.live(job_id)
        kept = self._rows.get(job_id)
        if news is not None and kept is not None and kept[0] == news.life:
            return _with_step(kept[1], news)
        try:
            job = self.stored(job_id)
        except StoreUnavailable:
            if (seen := self._moved_on(job_id, news)) is None:
                raise
            return seen
        if job is None:
            raise not_found(job_id)
        return self.keep(job, news)

    def stored(self, job_id: str) -> Job | None:
        """The job's row as the store has it now."""
        try:
            return self._store.get(job_id)
        except StoreUnavailable as error:
            raise self.explained(error) from error

    def row_soon(self, job_id: str, ends: float) -> Job:
        """The row. Where the store refuses it is asked again until then: files that were removed are soon put back."""
        while True:
            try:
                return self.row(job_id)
            except StoreUnavailable:
                if time.monotonic() >= ends:
                    raise
            time.sleep(LOOK_AGAIN_SOON)

    def keep(self, job: Job, news: JobNews | None) -> Job:
        """The row with its live step; kept while it runs. news: those of the moment before the row was read."""
        self.note(job)
        if news is None or job.status is not JobStatus.RUNNING or news.update.status != job.status:
            return job
        self._rows[job.id] = (news.life, job)
        if len(self._rows) > _ROWS_KEPT:
            self._rows.popitem(last=False)
        return _with_step(job, news)

    def note(self, job: Job) -> None:
        """Remember what was seen of a job, for when the store cannot be read."""
        self._seen[job.id] = job
        self._seen.move_to_end(job.id)
        if len(self._seen) > _SEEN_KEPT:
            self._seen.popitem(last=False)

    def forget(self, job_id: str) -> None:
        """The job is gone."""
        self._rows.pop(job_id, None)
        self._seen.pop(job_id, None)

    def view(self, job: Job) -> JobView:
        """What is known of its time; the controller is asked to report a running job's steps from now on."""
        if job.status is JobStatus.RUNNING:
            self._control.follow(job.id)
        return self._timed(job)

    def listed(self, job: Job) -> JobView:
        """The same of a row just read, as one among many: nobody follows them all."""
        news = self._control.live(job.id) if job.status is JobStatus.RUNNING else None
        if news is not None and news.update.status == job.status:
            job = _with_step(job, news)
        return self._timed(job)

    def _timed(self, job: Job) -> JobView:
        """As the controller has planned the queue: nothing is counted here."""
        if job.status is JobStatus.QUEUED:
            place, ends = self._control.place(job.id) or (None, None)
            left = None if ends is None else max(0.0, ends - steady())
            return JobView(job, place, left, reason=self._why_waiting(job))
        if job.status is not JobStatus.RUNNING:
            return JobView(job)
        pool, left = self._control.pool(), self._control.queue.running.get(job.id)
        writing = pool is not None and any(job.id in group.writing for group in pool.groups)
        return JobView(job, None, running_seconds_left(job, left, steady()), writing)

    def explained(self, error: StoreUnavailable) -> StoreUnavailable:
        """With the controller's reason where it has one: it knows what it has kept, say."""
        pool = self._control.pool()
        known = pool.trouble if pool is not None and pool.held else None
        return StoreUnavailable(str(error), known or error.public)

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


def not_found(job_id: str) -> JobNotFound:
    """There is no such job, or it is not the caller's."""
    return JobNotFound(f"there is no job {job_id}")


def _with_step(job: Job, news: JobNews) -> Job:
    step = max(job.step, news.update.step)
    return dataclasses.replace(job, step=step, total_steps=news.update.total_steps or job.total_steps)
