"""The refusals that every store words alike. Nothing here reads or writes a store."""

from __future__ import annotations

from para_attn_server.core.errors import IdempotencyConflict, IllegalTransition, JobNotFound


def refused(job_id: str, status: str | None, verb: str) -> JobNotFound | IllegalTransition:
    """Why a write about a job was not made. status: its status now, None where there is no such job."""
    if status is None:
        return JobNotFound(f"no job has the id {job_id}")
    return IllegalTransition(f"job {job_id} is {status}: it cannot {verb}")


def conflict(job_id: str) -> IdempotencyConflict:
    """The key of a request is that of another one, whose job this is."""
    return IdempotencyConflict(f"the Idempotency-Key was used before for another request, that of job {job_id}")
