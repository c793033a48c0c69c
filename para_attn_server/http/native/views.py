"""The JSON shapes of the native dialect. Pure: from the service's objects to dictionaries.

All times are Unix seconds; all durations are seconds. The types are what GET /openapi.json says of the answers.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import Job, JobStatus, Output
from para_attn_server.core.steady import steady
from para_attn_server.core.wire.control import Beat, GroupView, PoolView
from para_attn_server.service.service import JobView
from para_attn_server.stores.base import QueueCounts


class IndexBody(TypedDict):
    """Name, version, and what each route is for."""

    name: str
    version: str
    endpoints: dict[str, str]


class AcceptedBody(TypedDict):
    """The id of a job that was queued."""

    request_id: str


class AliveBody(TypedDict):
    """A web worker responds."""

    status: Literal["alive"]


class ReadyBody(TypedDict):
    """New jobs are accepted."""

    status: Literal["ready"]


class StatusBody(TypedDict):
    """The status of a job."""

    request_id: str
    status: JobStatus
    step: int
    total_steps: int | None
    queue_position: int | None
    eta_seconds: float | None
    attempts: int
    seed: Any
    created_at: float
    started_at: float | None
    finished_at: float | None


class Timings(TypedDict):
    """When a job was created, started and ended, and how long it queued and ran (its last attempt)."""

    created_at: float
    started_at: float | None
    finished_at: float | None
    queued_seconds: float | None
    run_seconds: float | None


class ResultBody(StatusBody):
    """A job that has succeeded, without the bytes of its output."""

    file_type: str
    output_path: str
    size: int
    sha256: str
    timings: Timings


class OutputBody(ResultBody):
    """The same with the output in base64."""

    output: str


class ServerBody(TypedDict):
    """The pool, the queue, uptime and versions."""

    status: Literal["ok", "stopping"]
    groups: list[GroupView]
    queue: QueueCounts
    started_at: float
    uptime_seconds: float
    mean_job_seconds: float | None
    loop_lag: Beat
    versions: dict[str, str]
    trouble: str | None
    notices: list[str]


class WrongField(TypedDict):
    """One invalid argument: a JSON pointer into the body, or the name of a query parameter or header."""

    detail: str
    pointer: NotRequired[str]
    parameter: NotRequired[str]


class ProblemBody(TypedDict):
    """RFC 9457. The additional members depend on the type."""

    type: str
    title: str
    status: int
    detail: str
    instance: NotRequired[str]
    errors: NotRequired[list[WrongField]]
    request_id: NotRequired[str]
    step: NotRequired[int]
    attempts: NotRequired[int]
    seed: NotRequired[Any]
    error: NotRequired[JobError]
    timings: NotRequired[Timings]
    server: NotRequired[ServerBody]
    free_bytes: NotRequired[int]
    wanted_bytes: NotRequired[int]
    endpoints: NotRequired[dict[str, str]]


def status_body(view: JobView) -> StatusBody:
    """The status of a job."""
    job = view.job
    return {
        "request_id": job.id,
        "status": job.status,
        "step": job.step,
        "total_steps": job.total_steps,
        "queue_position": view.queue_position,
        "eta_seconds": None if view.eta_seconds is None else round(view.eta_seconds, 3),
        "attempts": job.attempts,
        "seed": job.seed,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }


def result_body(view: JobView, output: Output) -> ResultBody:
    """A succeeded job: its status and what is known of its output, without the bytes."""
    return {
        **status_body(view),
        "file_type": output.media_type,
        "output_path": output.path,
        "size": output.size,
        "sha256": output.sha256,
        "timings": timings(view.job),
    }


def timings(job: Job) -> Timings:
    """When a job was created, started and ended, and how long it queued and ran (its last attempt)."""
    return {
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "queued_seconds": None if job.queued_seconds is None else round(job.queued_seconds, 6),
        "run_seconds": None if job.run_seconds is None else round(job.run_seconds, 6),
    }


def server_body(pool: PoolView, counts: QueueCounts, versions: dict[str, str], lag: Beat) -> ServerBody:
    """The pool, the queue, uptime and versions. versions: of this process; the ranks' are in the pool view."""
    return {
        "status": "stopping" if pool.stopping else "ok",
        "groups": pool.groups,
        "queue": counts,
        "started_at": pool.started_at,
        "uptime_seconds": round(steady() - pool.started_steady, 3),
        "mean_job_seconds": pool.mean_seconds,
        "loop_lag": lag,
        "versions": {**versions, **pool.versions},
        "trouble": pool.trouble,
        "notices": pool.notices,
    }
