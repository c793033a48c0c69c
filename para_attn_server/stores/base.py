"""What a job store can do. `sql.py` is for servers, `memory.py` for tests; one contract suite runs against every store.

A store may have several handles, one in each process that uses it: each is a JobStore of its own.
Web workers only insert, and delete what has ended; only the controller makes transitions. Every transition is a guarded
update that raises IllegalTransition when the job's status does not allow it, and writes its event in the same
transaction. A write about a running job names the run that it is about (`Job.run_id`), and raises StaleRun where
another one, or none, is under way.
All times are Unix seconds, given by the caller. What is called steady, deadlines too, is by the clock that never jumps
(core/steady.py); a store notes each transition by both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import Event, Job, JobStatus, NewJob, Output, Removal, Result, RunId
from para_attn_server.stores.uploads import UploadStore

MODELS_DOCUMENT = "models"
"""Name of the document in which the controller leaves what the ranks reported of each model, for the web workers to
read."""

Progress = tuple[int, int | None]
"""Steps done, and of how many (None where unknown)."""
BESIDE_HISTORY = ("step", "log", "traceback")
"""Types of events of which a job may have thousands."""

Place = tuple[float, int]
"""Where a job is in a list, newest first: when it was created, and its `seq`."""


def place_of(job: Job) -> Place:
    """The job's."""
    return job.created_at, job.seq


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list; None for any. created_after and created_before: Unix seconds, themselves left out."""

    status: JobStatus | None = None
    model: str | None = None
    owner: str | None = None
    created_after: float | None = None
    created_before: float | None = None

    def fits(self, job: Job) -> bool:
        """Whether the job is one of them."""
        after, before = self.created_after, self.created_before
        same = all(getattr(self, name) in (None, getattr(job, name)) for name in ("status", "model", "owner"))
        return same and (after is None or job.created_at > after) and (before is None or job.created_at < before)


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How many jobs are in each status."""

    queued: int
    running: int
    succeeded: int
    failed: int
    canceled: int


@dataclass(frozen=True, slots=True)
class OutputTotals:
    """Of how many jobs the outputs are kept, and of how many bytes they are together. evicted: of how many jobs they
    were removed for --max-output-bytes, since there is this store."""

    jobs: int
    bytes: int
    evicted: int


@dataclass(frozen=True, slots=True)
class LogRow:
    """A row of a job's log, as an event: its type, when, and data: `text`, or how many lines are `left_out`."""

    job_id: str
    type: str
    at: float
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LogWrite:
    """rows: to be added. removed: ids of rows to be taken out. gaps: rows, by id, that come to say how many lines are
    left out."""

    rows: Sequence[LogRow]
    removed: Sequence[int] = ()
    gaps: Mapping[int, int] = field(default_factory=dict)


class JobStore(UploadStore, Protocol):
    """Jobs, their events, uploads, and a few named JSON documents."""

    def usable(self) -> None:
        """Returns when a job can be inserted now; raises StoreUnavailable, which says why not."""

    def heal(self) -> str | None:
        """The controller only, twice a second: repair what the store has lost while it was in use.

        Returns why that cannot be, for clients; None if all is well. What somebody else has put in its place is left
        alone. Raises StoreUnavailable where the repair fails.
        """

    # --- web workers ---

    def insert(self, new: NewJob, max_queued: int, now: float) -> Job:
        """Put a job at the end of the queue, durable when this returns.

        Where its owner has used its idempotency_key before, the job of that key is returned instead. All is checked in
        one transaction; raises QueueFull, or IdempotencyConflict where the known key came with another request, or
        UploadNotFound where one of its inputs is no upload of its owner's.
        """

    def by_key(self, owner: str, idempotency_key: str, request_digest: str) -> Job | None:
        """The job of that key of that owner; raises IdempotencyConflict where it was another request's."""

    # --- reading, anybody ---

    def get(self, job_id: str) -> Job | None:
        """The job, None if there is none."""

    def arguments(self, job_id: str) -> dict[str, Any]:
        """What `predict` is called with for this job. Possibly megabytes, so no other method reads them.

        Raises JobNotFound.
        """

    def counts(self) -> QueueCounts:
        """Jobs by status."""

    def events(self, job_id: str, after: int = 0) -> list[Event]:
        """A job's history in order, from the event after the one with that id."""

    def history(self, job_id: str) -> list[Event]:
        """The same without what it may have many of (BESIDE_HISTORY)."""

    def listed(self, wanted: JobFilter, limit: int, behind: Place | None = None) -> list[Job]:
        """The newest jobs that fit, in that order, with their outputs. behind: only what comes after that place.

        Costs the same for a page of few and of many jobs; reads no arguments.
        """

    def queued(self, limit: int, steady: float = 0.0, after: int = 0) -> list[Job]:
        """The next jobs to run, oldest first, without those whose deadline has passed by then.

        after: only those behind that place (`Job.seq`). A job that is inserted later has a later place.
        """

    def running(self) -> list[Job]:
        """The jobs that run now, the longest running first."""

    def mean_seconds(self, last: int = 20) -> float | None:
        """Mean time from start to success of the last succeeded jobs, None before the first."""

    def ended_before(self, moment: float, limit: int, steady: float | None = None) -> dict[str, tuple[Output, ...]]:
        """Jobs that ended before that moment, for removal, the longest ended first: their ids with their outputs.

        steady: the moment by the steady clock; a job must have ended before both. Default: the same number.
        """

    def with_outputs(self, limit: int, moment: float = math.inf, steady: float = math.inf) -> list[Job]:
        """Jobs whose outputs are kept and that ended before both moments, the longest ended first."""

    def output_totals(self) -> OutputTotals:
        """All outputs that are kept; takes no longer for many of them."""

    def output_paths(self, last: int) -> list[str]:
        """Where the outputs of the jobs that ended last were to be."""

    def changes(self) -> int:
        """A number that changes when another handle of this store has written (the fallback for a lost hint).

        What this handle writes does not change it. Numbers of two handles have nothing to do with each other.
        """

    def transaction(self) -> AbstractContextManager[None]:
        """The writes made within are one transaction: all of them count, or none where anything in it raises.

        One within another joins it.
        """

    # --- transitions, the controller only ---

    def start(self, job_id: str, group: int, now: float, controller: str | None = None) -> Job:
        """queued to running; adds one to attempts and to run, sets step to 0. controller: who starts it."""

    # progress: the last steps done and their total, written along; None leaves them as they are.

    # run: the one that it is about; None, where that is allowed, for a job that must be queued.

    def succeed(
        self, job_id: str, result: Result, now: float, progress: Progress | None = None, *, run: RunId | None
    ) -> Job:
        """running to succeeded; step becomes total_steps where that is known."""

    def fail(
        self, job_id: str, error: JobError, now: float, progress: Progress | None = None, *, run: RunId | None = None
    ) -> Job:
        """queued or running to failed."""

    def cancel(self, job_id: str, now: float, progress: Progress | None = None, *, run: RunId | None = None) -> Job:
        """queued or running to canceled."""

    def expire(self, error: JobError, steady: float, now: float, limit: int) -> list[Job]:
        """queued to failed, with this error: jobs whose deadline has passed, the first `limit` of them."""

    def requeue(self, job_id: str, cause: str, charge: bool, now: float, *, run: RunId | None) -> Job:
        """running to queued, in its old place. charge: whether the lost run counts as an attempt; `run` stays."""

    # --- further writes, the controller only ---

    def request_cancel(self, job_id: str, now: float, *, run: RunId | None) -> Job:
        """Remember that a running job is to be canceled; raises IllegalTransition unless it runs. Asked twice: once."""

    def progress(self, job_id: str, step: int, total: int | None, now: float, *, run: RunId | None) -> None:
        """Write a running job's step, with a `step` event."""

    def log(self, write: LogWrite) -> list[int]:
        """Change logs in one transaction; the ids of the new rows. Rows of jobs that are gone have the id 0."""

    def log_rows(self, job_id: str, after: int, limit: int) -> list[Event]:
        """A job's `log` and `traceback` events in order, from the one after that id."""

    def news(self, job_id: str, after: int, limit: int) -> list[Event]:
        """A job's events but for its steps, in order, from the one after that id."""

    def outputs_removed(self, job_ids: list[str], reason: Removal, now: float) -> None:
        """Note that the files of these jobs' outputs are removed; nothing for a job of which none is kept."""

    def delete(self, job_ids: list[str]) -> None:
        """Remove ended jobs and their events. Web workers may do this too: no transition leads out of an end."""

    # --- documents (the models' request schemas, costs) ---

    def put_document(self, name: str, value: dict[str, Any]) -> None:
        """Write a named document."""

    def document(self, name: str) -> dict[str, Any] | None:
        """Read it, None if there is none."""

    def close(self) -> None:
        """Give up what the handle holds; the jobs stay. Twice is once, and the next call opens it again."""


class OpenHandle(Protocol):
    """What `open.open_store` does, for the stores of one kind."""

    def __call__(self, place: str, *, durable: bool, steady: Callable[[], float] | None) -> JobStore: ...


def _nothing(place: str, migrate: bool) -> None:
    """A store that needs no preparation."""


def _no_notices(place: str) -> list[str]:
    return []


def _no_revision(place: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class StoreKind:
    """A kind of store, for the list in `open.py`. place: what follows the scheme in a store's URL.

    prepare: run by the controller before anybody opens the store. It makes the store ready, or raises
    StoreUnavailable; it migrates it only where that is allowed. notices: what an operator must know of what earlier
    servers have lost or kept. revision: of the store's schema, None where it has none.
    """

    open: OpenHandle
    prepare: Callable[[str, bool], None] = _nothing
    notices: Callable[[str], list[str]] = _no_notices
    revision: Callable[[str], str | None] = _no_revision
