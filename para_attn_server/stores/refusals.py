"""The writes about a job that a store may refuse, and the refusals and events, which every store words alike.

Nothing here reads or writes a store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from para_attn_server.core.errors import IdempotencyConflict, IllegalTransition, JobNotFound, StaleRun
from para_attn_server.core.job import Job, JobStatus, Result, RunId, sources_of


@dataclass(frozen=True, slots=True)
class Write:
    """A write about a job. name: what the job does by it. sources: the statuses in which it may."""

    name: str
    sources: tuple[JobStatus, ...]


START = Write("start", sources_of(JobStatus.RUNNING))
SUCCEED = Write("succeed", sources_of(JobStatus.SUCCEEDED))
FAIL = Write("fail", sources_of(JobStatus.FAILED))
CANCEL = Write("be canceled", sources_of(JobStatus.CANCELED))
REQUEUE = Write("be requeued", sources_of(JobStatus.QUEUED))
REQUEST_CANCEL = Write("be asked to leave", (JobStatus.RUNNING,))
PROGRESS = Write("make a step", (JobStatus.RUNNING,))


def unknown(job_id: str) -> JobNotFound:
    """There is no such job."""
    return JobNotFound(f"no job has the id {job_id}")


def refused(job: Job, write: Write, run: RunId | None) -> IllegalTransition:
    """Why a write about a job as it is now was not made. run: the one that it is about."""
    if job.status not in write.sources:
        return IllegalTransition(f"job {job.id} is {job.status}: it cannot {write.name}")
    now, meant = job.run_id or "no run", run or "no run"
    return StaleRun(f"job {job.id} is {job.status}, in {now}: it cannot {write.name} in {meant}")


def conflict(job_id: str) -> IdempotencyConflict:
    """The key of a request is that of another one, whose job this is."""
    return IdempotencyConflict(f"the Idempotency-Key was used before for another request, that of job {job_id}")


def shown(result: Result) -> dict[str, Any]:
    """What the event of a success says: of the first output."""
    first = result.outputs[0]
    return {"media_type": first.media_type, "size": first.size, "sha256": first.sha256}
