"""The run that a job is in, for tests that write about it as its controller would."""

from __future__ import annotations

from para_attn_server.core.job import RunId
from para_attn_server.stores.base import JobStore


def run_of(store: JobStore, job_id: str) -> RunId | None:
    """None while the job does not run, or where there is none of that id."""
    job = store.get(job_id)
    return None if job is None else job.run_id
