"""The JSON shapes of the native dialect. Pure: from the service's objects to dictionaries.

All times are Unix seconds; all durations are seconds. The types are what GET /openapi.json says of the answers.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import Job, JobStatus, Output, Priority
from para_attn_server.core.steady import steady
from para_attn_server.core.wire.control import Beat, GroupView
from para_attn_server.service.job_view import JobView, ServerView
from para_attn_server.stores.base import QueueCounts

_PRIORITIES: dict[Priority, Literal["low", "normal", "high"]] = {
    Priority.LOW: "low",
    Priority.NORMAL: "normal",
    Priority.HIGH: "high",
}


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


class OutputInfo(TypedDict):
    """One of a job's outputs: pixels and seconds are null where they are not known."""

    role: str
    file_type: str
    output_path: str
    size: int
    sha256: str
    width: int | None
    height: int | None
    duration: float | None


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
    model: str | None
    priority: Literal["low", "normal", "high"]
    target_at: float | None
    metadata: dict[str, Any] | None
    created_at: float
    started_at: float | None
    finished_at: float | None


class Phases(TypedDict):
    """Seconds that a run that has succeeded spent on each phase, null where that is not known."""

    queue: float | None
    prepare: float | None
    encode_prompt: float | None
    denoise: float | None
    decode: float | None
    write: float | None


class Timings(TypedDict):
    """When a job was created, started and ended, and how long it queued and ran (its last attempt)."""

    created_at: float
    started_at: float | None
    finished_at: float | None
    queued_seconds: float | None
    run_seconds: float | None
    phases: Phases


class Removed(TypedDict):
    """When and why the server has removed an output's file: it was older than --keep-outputs (`expired`), or all files
    together had more than --max-output-bytes (`evicted`)."""

    at: float
    reason: Literal["expired", "evicted"]


class ResultBody(StatusBody):
    """A job that has succeeded, without the bytes of its output."""

    file_type: str
    output_path: str
    size: int
    sha256: str
    outputs: list[OutputInfo]
    applied: dict[str, Any] | None
    peak_memory: int | None
    output_removed: Removed | None
    timings: Timings


class OutputBody(ResultBody):
    """The same with the output in base64."""

    output: str


class OutputsBody(TypedDict):
    """Of how many jobs the output files are kept, and how many bytes they have together (`max_bytes`: at most).

    evicted: of how many jobs they were removed to stay below that.
    """

    jobs: int
    bytes: int
    max_bytes: int | None
    evicted: int


class CostsBody(TypedDict):
    """What is known of the time that jobs take: of how many shapes, and the median relative error of the last
    estimates."""

    shapes: int
    median_error: float | None


class ServerBody(TypedDict):
    """The pool, the queue, uptime and versions."""

    status: Literal["ok", "stopping"]
    groups: list[GroupView]
    queue: QueueCounts
    outputs: OutputsBody
    started_at: float
    uptime_seconds: float
    mean_job_seconds: float | None
    costs: CostsBody
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
    removed_at: NotRequired[float]
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
        "model": job.model,
        "priority": _PRIORITIES[job.priority],
        "target_at": None if job.target is None else round(job.created_at + job.target - job.created_steady, 3),
        "metadata": job.metadata,
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
        "outputs": [_output_info(each) for each in view.job.outputs],
        "applied": view.job.applied,
        "peak_memory": view.job.peak_memory,
        "output_removed": _removed(view.job),
        "timings": timings(view.job),
    }


def _removed(job: Job) -> Removed | None:
    if job.outputs_removed_at is None:
        return None
    reason: Any = job.outputs_removed_for
    return {"at": job.outputs_removed_at, "reason": reason}


def timings(job: Job) -> Timings:
    """When a job was created, started and ended, and how long it queued and ran (its last attempt)."""
    return {
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "queued_seconds": None if job.queued_seconds is None else round(job.queued_seconds, 6),
        "run_seconds": None if job.run_seconds is None else round(job.run_seconds, 6),
        "phases": _phases(job),
    }


def _output_info(output: Output) -> OutputInfo:
    return {
        "role": output.role,
        "file_type": output.media_type,
        "output_path": output.path,
        "size": output.size,
        "sha256": output.sha256,
        "width": output.width,
        "height": output.height,
        "duration": output.duration,
    }


def _phases(job: Job) -> Phases:
    known = job.timings or {}
    return {
        "queue": known.get("queue"),
        "prepare": known.get("prepare"),
        "encode_prompt": known.get("encode_prompt"),
        "denoise": known.get("denoise"),
        "decode": known.get("decode"),
        "write": known.get("write"),
    }


def server_body(server: ServerView, versions: dict[str, str]) -> ServerBody:
    """The pool, the queue, uptime and versions. versions: of this process; the ranks' are in the pool view."""
    pool, queue, outputs = server.pool, server.queue, server.outputs
    return {
        "status": "stopping" if pool.stopping else "ok",
        "groups": pool.groups,
        "queue": server.counts,
        "outputs": {
            "jobs": outputs.totals.jobs,
            "bytes": outputs.totals.bytes,
            "max_bytes": outputs.max_bytes,
            "evicted": outputs.totals.evicted,
        },
        "started_at": pool.started_at,
        "uptime_seconds": round(steady() - pool.started_steady, 3),
        "mean_job_seconds": pool.mean_seconds,
        "costs": {"shapes": queue.shapes, "median_error": None if queue.error is None else round(queue.error, 4)},
        "loop_lag": server.lag,
        "versions": {**versions, **pool.versions},
        "trouble": pool.trouble,
        "notices": pool.notices,
    }
