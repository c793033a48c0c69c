"""What the end of a run makes of its job in the store. Decides nothing about the run itself (`run.py`)."""

from __future__ import annotations

from dataclasses import replace

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import Job, Output, RunId
from para_attn_server.pool.run import GROUP_LOST, Ending
from para_attn_server.stores.base import JobStore, Progress


def end(store: JobStore, job_id: str, run: RunId, outcome: Ending, progress: Progress, now: float) -> Job:
    """Write it: succeeded, failed or canceled."""
    if isinstance(outcome, Output):
        return store.succeed(job_id, outcome, now, progress, run=run)
    if isinstance(outcome, JobError):
        return store.fail(job_id, outcome, now, progress, run=run)
    return store.cancel(job_id, now, progress, run=run)


def last_attempt(error: JobError, attempts: int) -> JobError:
    """A job that took its group down again and again is poison: no group is risked on it any more."""
    if attempts < 2 or error.type not in GROUP_LOST:
        return error
    message = f"its worker group was lost in attempt {attempts}, its last: {error.message}"
    return replace(error, type="poison", message=message)
