"""A store in memory: for tests, and for any queue that may end with its process.

It passes the contract suite of `base.py`. Nothing in it is durable, and no other process sees it. The rows and their
transactions are in `rows.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from heapq import nlargest, nsmallest
from itertools import islice
from statistics import fmean
from typing import Any, NoReturn, TypeVar

from para_attn_server.core.errors import JobError, QueueFull, UsageError
from para_attn_server.core.job import Event, Job, JobStatus, NewJob, Output, Removal, Result, RunId
from para_attn_server.stores import refusals
from para_attn_server.stores.base import (
    BESIDE_HISTORY,
    JobFilter,
    JobStore,
    LogWrite,
    OutputTotals,
    Place,
    Progress,
    QueueCounts,
    StoreKind,
    place_of,
)
from para_attn_server.stores.memory_uploads import MemoryUploads, use_uploads
from para_attn_server.stores.refusals import Write, conflict, refused, shown, unknown
from para_attn_server.stores.rows import EventRow, Numbered, Request, Rows

_ENDED = [status for status in JobStatus if status.terminal]
_OF_JSON = ("seed", "metadata", "webhook", "applied", "timings")
AnyJob = TypeVar("AnyJob", Job, NewJob)
_named: dict[str, MemoryStore] = {}


class MemoryStore(MemoryUploads, JobStore):
    """A JobStore in this process's memory; new and empty. Safe for threads or greenlets, which take turns.

    A transaction keeps other threads waiting. In its own thread another handle can read what is not committed yet, and
    cannot write.

    Parameters
    ----------
    steady : callable, optional
        The clock for durations, in seconds; without it the caller's `now` counts.
    """

    def __init__(self, steady: Callable[[], float] | None = None) -> None:
        self._rows, self._steady = Rows(), steady
        self._commits = 0

    def another(self, steady: Callable[[], float] | None = None) -> MemoryStore:
        """One more handle on the same jobs, as another process would have.

        Parameters
        ----------
        steady : callable, optional
            The clock of that handle, as for this one.

        Returns
        -------
        MemoryStore
            The handle; close each by itself.
        """
        other = MemoryStore(steady)
        other._rows = self._rows
        return other

    def close(self) -> None:
        """Nothing to give up: the jobs live as long as one of their handles."""

    def usable(self) -> None:
        """Always."""

    def heal(self) -> str | None:
        return None

    # --- web workers ---

    def insert(self, new: NewJob, max_queued: int, now: float) -> Job:
        request = Request(_encoded(new.arguments), new.idempotency_key, new.request_digest)
        new = _copied(new)
        with self._writing() as rows:
            if new.idempotency_key is not None:
                known = self.by_key(new.owner, new.idempotency_key, new.request_digest)
                if known is not None:
                    return known
            if len(rows.by_status[JobStatus.QUEUED]) >= max_queued:
                raise QueueFull(max_queued)
            use_uploads(rows, new)
            job = new.queued(next(rows.seqs), now, self._steadily(now))
            rows.put(rows.requests, job.id, request)
            if new.idempotency_key is not None:
                rows.put(rows.keys, (new.owner, new.idempotency_key), job.id)
            rows.put(rows.events, job.id, Numbered())
            return self._write(None, job, "queued", {}, now)

    def by_key(self, owner: str, idempotency_key: str, request_digest: str | None) -> Job | None:
        with self._reading() as rows:
            job_id = rows.keys.get((owner, idempotency_key))
            if job_id is None:
                return None
            if rows.requests[job_id].digest != request_digest:
                raise conflict(job_id)
            return _copied(rows.jobs[job_id])

    # --- reading, anybody ---

    def get(self, job_id: str) -> Job | None:
        with self._reading() as rows:
            job = rows.jobs.get(job_id)
            return None if job is None else _copied(job)

    def arguments(self, job_id: str) -> dict[str, Any]:
        with self._reading() as rows:
            request = rows.requests.get(job_id)
        if request is None:
            raise unknown(job_id)
        arguments: dict[str, Any] = json.loads(request.arguments)
        return arguments

    def counts(self) -> QueueCounts:
        with self._reading() as rows:
            return QueueCounts(**{status.value: len(jobs) for status, jobs in rows.by_status.items()})

    def events(self, job_id: str, after: int = 0) -> list[Event]:
        with self._reading() as rows:
            found = list(rows.events[job_id].after(after)) if job_id in rows.events else []
        return [_event(row) for row in found]

    def history(self, job_id: str) -> list[Event]:
        return [event for event in self.events(job_id) if event.type not in BESIDE_HISTORY]

    def listed(self, wanted: JobFilter, limit: int, behind: Place | None = None) -> list[Job]:
        with self._reading() as rows:
            fitting = (job for job in rows.jobs.values() if wanted.fits(job) and (not behind or place_of(job) < behind))
            return list(map(_copied, nlargest(limit, fitting, key=place_of)))

    def queued(self, limit: int, steady: float = 0.0, after: int = 0) -> list[Job]:
        with self._reading() as rows:
            waiting = rows.by_status[JobStatus.QUEUED].after(after)
            due = (job for job in waiting if job.deadline is None or job.deadline > steady)
            return list(map(_copied, islice(due, limit)))

    def running(self) -> list[Job]:
        with self._reading() as rows:
            jobs = map(_copied, rows.by_status[JobStatus.RUNNING].values())
            return sorted(jobs, key=lambda job: (job.started_at, job.seq))

    def mean_seconds(self, last: int = 20) -> float | None:
        with self._reading() as rows:
            done = rows.by_status[JobStatus.SUCCEEDED]
            jobs = [done[seq] for seq in done.numbers[-last:]]
        return fmean((job.finished_steady or 0.0) - (job.started_steady or 0.0) for job in jobs) if jobs else None

    def ended_before(self, moment: float, limit: int, steady: float | None = None) -> dict[str, tuple[Output, ...]]:
        steady = moment if steady is None else steady
        found = [job for job in self._ended() if _end(job) < moment and (job.finished_steady or 0.0) < steady]
        return {job.id: job.outputs for job in nsmallest(limit, found, key=_end)}

    def with_outputs(self, limit: int, moment: float = math.inf, steady: float = math.inf) -> list[Job]:
        found = [job for job in self._kept() if _end(job) < moment and (job.finished_steady or 0.0) < steady]
        return nsmallest(limit, found, key=_end)

    def output_totals(self) -> OutputTotals:
        with self._reading() as rows:
            kept = self._kept()
            size = sum(output.size for job in kept for output in job.outputs)
            return OutputTotals(len(kept), size, rows.totals.get("evicted", 0))

    def output_paths(self, last: int) -> list[str]:
        return [job.output_path for job in nlargest(last, self._ended(), key=_end)]

    def changes(self) -> int:
        with self._reading() as rows:
            return rows.commits - self._commits

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._writing():
            yield

    # --- transitions, the controller only ---

    def start(self, job_id: str, group: int, now: float, controller: str | None = None) -> Job:
        with self._writing():
            old = self._guarded(job_id, refusals.START, None)
            job = replace(old, status=JobStatus.RUNNING, started_at=now, started_steady=self._steadily(now))
            job = replace(job, group=group, attempts=old.attempts + 1, step=0, total_steps=None)
            job = replace(job, controller=controller, run=old.run + 1)
            return self._write(old, job, "started", {"group": group, "attempt": job.attempts, "run": job.run}, now)

    def succeed(
        self, job_id: str, result: Result, now: float, progress: Progress | None = None, *, run: RunId | None
    ) -> Job:
        with self._writing():
            old = self._guarded(job_id, refusals.SUCCEED, run)
            job = replace(self._ended_now(old, now, progress), status=JobStatus.SUCCEEDED, outputs=result.outputs)
            job = replace(job, applied=result.applied, timings=result.timings, peak_memory=result.peak_memory)
            if job.total_steps is not None:
                job = replace(job, step=job.total_steps)
            return self._write(old, _copied(job), "succeeded", shown(result), now)

    def fail(
        self, job_id: str, error: JobError, now: float, progress: Progress | None = None, *, run: RunId | None = None
    ) -> Job:
        with self._writing():
            old = self._guarded(job_id, refusals.FAIL, run)
            job = replace(self._ended_now(old, now, progress), status=JobStatus.FAILED, error=error)
            return self._write(old, job, "failed", {"error": error.as_dict()}, now)

    def cancel(self, job_id: str, now: float, progress: Progress | None = None, *, run: RunId | None = None) -> Job:
        with self._writing():
            old = self._guarded(job_id, refusals.CANCEL, run)
            job = replace(self._ended_now(old, now, progress), status=JobStatus.CANCELED)
            return self._write(old, job, "canceled", {}, now)

    def expire(self, error: JobError, steady: float, now: float, limit: int) -> list[Job]:
        with self._writing() as rows:
            passed = [job for job in rows.by_status[JobStatus.QUEUED].values() if _deadline(job) <= steady]
            return [self.fail(job.id, error, now) for job in nsmallest(limit, passed, key=_deadline)]

    def requeue(self, job_id: str, cause: str, charge: bool, now: float, *, run: RunId | None) -> Job:
        with self._writing():
            old = self._guarded(job_id, refusals.REQUEUE, run)
            job = replace(old, status=JobStatus.QUEUED, started_at=None, started_steady=None, controller=None)
            job = replace(job, group=None, attempts=old.attempts - int(not charge), step=0, total_steps=None)
            return self._write(old, job, "requeued", {"cause": cause, "charged": charge}, now)

    # --- further writes, the controller only ---

    def request_cancel(self, job_id: str, now: float, *, run: RunId | None) -> Job:
        with self._writing():
            old = self._guarded(job_id, refusals.REQUEST_CANCEL, run)
            if old.cancel_requested:
                return _copied(old)
            return self._write(old, replace(old, cancel_requested=True), "cancel_requested", {}, now)

    def progress(self, job_id: str, step: int, total: int | None, now: float, *, run: RunId | None) -> None:
        with self._writing():
            old = self._guarded(job_id, refusals.PROGRESS, run)
            job = replace(old, step=step, total_steps=total)
            self._write(old, job, "step", {"step": step, "total_steps": total}, now)

    def log(self, write: LogWrite) -> list[int]:
        texts = [_encoded(row.data) for row in write.rows]
        with self._writing() as rows:
            ids = [
                rows.add_event(row.job_id, row.type, row.at, text) if row.job_id in rows.jobs else 0
                for row, text in zip(write.rows, texts, strict=True)
            ]
            for event_id, left_out in write.gaps.items():
                rows.change_event(event_id, _encoded({"left_out": left_out}))
            for event_id in write.removed:
                rows.change_event(event_id, None)
        return ids

    def log_rows(self, job_id: str, after: int, limit: int) -> list[Event]:
        logged = (event for event in self.events(job_id, after) if event.type in ("log", "traceback"))
        return list(islice(logged, limit))

    def news(self, job_id: str, after: int, limit: int) -> list[Event]:
        return list(islice((event for event in self.events(job_id, after) if event.type != "step"), limit))

    def outputs_removed(self, job_ids: list[str], reason: Removal, now: float) -> None:
        with self._writing() as rows:
            kept = [job for job in self._kept() if job.id in job_ids]
            for job in kept:
                removed = replace(job, outputs_removed_at=now, outputs_removed_for=reason.value)
                rows.put(rows.by_status[job.status], job.seq, removed)
                rows.put(rows.jobs, job.id, removed)
            if reason is Removal.EVICTED:
                rows.put(rows.totals, "evicted", rows.totals.get("evicted", 0) + len(kept))

    def delete(self, job_ids: list[str]) -> None:
        with self._writing() as rows:
            for job in filter(None, map(rows.jobs.get, job_ids)):
                if job.status.terminal:
                    rows.delete(job)

    # --- documents ---

    def put_document(self, name: str, value: dict[str, Any]) -> None:
        text = _encoded(value)
        with self._writing() as rows:
            rows.put(rows.documents, name, text)

    def document(self, name: str) -> dict[str, Any] | None:
        with self._reading() as rows:
            text = rows.documents.get(name)
        value: dict[str, Any] | None = None if text is None else json.loads(text)
        return value

    # --- inside ---

    def _steadily(self, now: float) -> float:
        return now if self._steady is None else self._steady()

    @contextmanager
    def _reading(self) -> Iterator[Rows]:
        with self._rows.lock:
            yield self._rows

    @contextmanager
    def _writing(self) -> Iterator[Rows]:
        rows = self._rows
        with rows.lock:
            before = rows.commits
            with rows.transaction(self):
                yield rows
            self._commits += rows.commits - before

    def _guarded(self, job_id: str, write: Write, run: RunId | None) -> Job:
        job = self._rows.jobs.get(job_id)
        if job is None:
            raise unknown(job_id)
        if job.status not in write.sources or job.run_id != run:
            raise refused(job, write, run)
        return job

    def _ended_now(self, job: Job, now: float, progress: Progress | None) -> Job:
        done, total = progress or (None, None)
        step = job.step if done is None else done
        total = job.total_steps if total is None else total
        return replace(job, finished_at=now, finished_steady=self._steadily(now), step=step, total_steps=total)

    def _ended(self) -> list[Job]:
        with self._reading() as rows:
            return [job for status in _ENDED for job in rows.by_status[status].values()]

    def _kept(self) -> list[Job]:
        return [job for job in self._ended() if job.outputs and job.outputs_removed_at is None]

    def _write(self, old: Job | None, job: Job, event: str, data: dict[str, Any], now: float) -> Job:
        """The job as it is now, with the event that says so."""
        rows = self._rows
        if old is not None and old.status is not job.status:
            rows.put(rows.by_status[old.status], old.seq, None)
        rows.put(rows.by_status[job.status], job.seq, job)
        rows.put(rows.jobs, job.id, job)
        rows.add_event(job.id, event, now, _encoded(data))
        return _copied(job)


def _encoded(value: Any) -> str:
    """As JSON: what is read later is another object, with what JSON can carry."""
    return json.dumps(value)  # without options, for json makes no new encoder then


def _copied(job: AnyJob) -> AnyJob:
    """The job with JSON values of its own."""
    values = {name: value for name in _OF_JSON if isinstance(value := getattr(job, name, None), (dict, list, tuple))}
    return replace(job, **json.loads(_encoded(values))) if values else job


def _event(row: EventRow) -> Event:
    return Event(row.id, row.job_id, row.type, row.at, json.loads(row.data))


def _end(job: Job) -> float:
    return job.finished_at or 0.0


def _deadline(job: Job) -> float:
    return math.inf if job.deadline is None else job.deadline


def _open(place: str, *, durable: bool, steady: Callable[[], float] | None) -> MemoryStore:
    """`memory://`: a new store; `memory://NAME`: the one of that name, which lives as long as the process."""
    return _named.setdefault(place, MemoryStore()).another(steady) if place else MemoryStore(steady)


def _refuse(_place: str, _migrate: bool = False) -> NoReturn:
    raise UsageError("store: memory:// is for tests: each process of a server would have a store of its own")


KIND = StoreKind(_open, _refuse, revision=_refuse)
