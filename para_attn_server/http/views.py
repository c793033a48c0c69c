"""The JSON shapes of the native dialect. Pure: from the service's objects to dictionaries.

All times are Unix seconds; all durations are seconds.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from para_attn_server.core.channel import PoolView
from para_attn_server.core.job import Job
from para_attn_server.service.service import JobView
from para_attn_server.stores.base import QueueCounts


def status_body(view: JobView) -> dict[str, Any]:
    """Where a job is."""
    job = view.job
    return {
        "request_id": job.id,
        "status": job.status,
        "step": job.step,
        "total_steps": job.total_steps,
        "queue_position": view.queue_position,
        "eta_seconds": None if view.eta_seconds is None else round(view.eta_seconds, 3),
        "attempts": job.attempts,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }


def result_body(view: JobView) -> dict[str, Any]:
    """A succeeded job: its status and what is known of its output, without the bytes."""
    job = view.job
    body = status_body(view)
    if job.output is not None:
        body |= {
            "file_type": job.output.media_type,
            "output_path": job.output.path,
            "size": job.output.size,
            "sha256": job.output.sha256,
        }
    return body | {"seed": job.kwargs.get("seed"), "timings": timings(job)}


def timings(job: Job) -> dict[str, float | None]:
    """When a job was made, started and ended, and how long it queued and ran (its last attempt)."""
    started, finished = job.started_at, job.finished_at
    return {
        "created_at": job.created_at,
        "started_at": started,
        "finished_at": finished,
        "queued_seconds": None if started is None else round(started - job.created_at, 6),
        "run_seconds": None if started is None or finished is None else round(finished - started, 6),
    }


def server_body(pool: PoolView, counts: QueueCounts, versions: dict[str, str], now: float) -> dict[str, Any]:
    """The pool, the queue, uptime and versions. versions: of this process; the ranks' are in the pool view."""
    return {
        "status": "stopping" if pool.stopping else "ok",
        "groups": [asdict(group) for group in pool.groups],
        "queue": asdict(counts),
        "started_at": pool.started_at,
        "uptime_seconds": round(now - pool.started_at, 3),
        "mean_job_seconds": pool.mean_seconds,
        "versions": {**versions, **pool.versions},
    }
