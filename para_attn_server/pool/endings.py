"""What the end of a run makes of its job in the store. Decides nothing about the run itself (`run.py`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import Job, Output, Result
from para_attn_server.pool.run import GROUP_LOST, Ending
from para_attn_server.stores.base import JobStore, Progress


def end(store: JobStore, job: Job, outcome: Ending, progress: Progress, now: float) -> Job:
    """Write it: succeeded, failed or canceled. job: as it was when the run began."""
    if isinstance(outcome, Result):
        queue = None if job.queued_seconds is None else round(job.queued_seconds, 6)
        outcome = replace(outcome, timings={**(outcome.timings or {}), "queue": queue})
        return store.succeed(job.id, outcome, now, progress, run=job.run_id)
    if isinstance(outcome, JobError):
        return store.fail(job.id, outcome, now, progress, run=job.run_id)
    return store.cancel(job.id, now, progress, run=job.run_id)


def fit(outcome: Ending, refusal: Callable[[Output], str | None]) -> Ending:
    """The outcome, or why its outputs cannot be published. refusal: of one output."""
    if isinstance(outcome, Result):
        for why in filter(None, map(refusal, outcome.outputs)):
            return JobError("output_unwritable", why)
    return outcome


def last_attempt(error: JobError, attempts: int) -> JobError:
    """A job that took its group down again and again is poison: no group is risked on it any more."""
    if attempts < 2 or error.type not in GROUP_LOST:
        return error
    message = f"its worker group was lost in attempt {attempts}, its last: {error.message}"
    return replace(error, type="poison", message=message)
