"""The JSON shapes of jobs in the native dialect. Pure: from the service's objects to dictionaries.

root: what paths of this server begin with, behind a proxy.

All times are Unix seconds; all durations are seconds. The types are what GET /openapi.json says of the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import Job, JobStatus, Output, Priority
from para_attn_server.core.uploads import Upload
from para_attn_server.http.native.server_views import ServerBody
from para_attn_server.service.job_view import JobPage, JobView, WholeJob
from para_attn_server.stores.base import Place

_PRIORITIES: dict[Priority, Literal["low", "normal", "high"]] = {
    Priority.LOW: "low",
    Priority.NORMAL: "normal",
    Priority.HIGH: "high",
}


class AcceptedBody(TypedDict):
    """The id of a job that was queued."""

    request_id: str


class DeletedBody(TypedDict):
    """A job that is not there any more."""

    request_id: str
    deleted: Literal[True]


class UploadBody(TypedDict):
    """An upload: what its header says. Pixels are as the file has them, before a picture is turned upright."""

    id: str
    kind: Literal["image", "video", "audio"]
    media_type: str
    size: int
    width: int | None
    height: int | None
    frames: int | None
    duration: float | None
    created_at: float


class OutputInfo(TypedDict):
    """One of a job's outputs: pixels and seconds are null where they are not known, the URL where the file is gone."""

    url: str | None
    role: str
    file_type: str
    output_path: str
    size: int
    sha256: str
    width: int | None
    height: int | None
    duration: float | None


class StatusBody(TypedDict):
    """The status of a job. phase: `writing` while its ranks are free and its output is encoded and written. reason: why
    a queued one cannot start for now."""

    request_id: str
    status: JobStatus
    phase: Literal["writing"] | None
    reason: str | None
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
    output_url: str | None
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


class ErrorBody(TypedDict):
    """Why a job has failed."""

    type: str
    message: str
    rank: NotRequired[int]
    step: NotRequired[int]
    hint: NotRequired[str]


class JobSummary(StatusBody):
    """A job in a list, whatever its status. Outputs are those of a job that has succeeded."""

    owner: str
    output_url: str | None
    outputs: list[OutputInfo]
    output_removed: Removed | None
    error: ErrorBody | None


class JobsBody(TypedDict):
    """Some jobs, newest first. next_cursor: of the next ones, null where there are none."""

    jobs: list[JobSummary]
    next_cursor: str | None


class HistoryEvent(TypedDict):
    """Something that has happened to a job."""

    type: str
    at: float
    data: dict[str, Any]


class JobBody(JobSummary):
    """All that is known of a job, but for its log."""

    arguments: dict[str, Any]
    deadline_at: float | None
    applied: dict[str, Any] | None
    peak_memory: int | None
    timings: Timings
    history: list[HistoryEvent]


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
    models: NotRequired[list[str]]
    removed_at: NotRequired[float]
    endpoints: NotRequired[dict[str, str]]


def status_body(view: JobView) -> StatusBody:
    """The status of a job."""
    job = view.job
    return {
        "request_id": job.id,
        "status": job.status,
        "phase": "writing" if view.writing else None,
        "reason": view.reason,
        "step": job.step,
        "total_steps": job.total_steps,
        "queue_position": view.queue_position,
        "eta_seconds": None if view.eta_seconds is None else round(view.eta_seconds, 3),
        "attempts": job.attempts,
        "seed": job.seed,
        "model": job.model,
        "priority": _PRIORITIES[job.priority],
        "target_at": _wall_time(job, job.target),
        "metadata": job.metadata,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }


def _wall_time(job: Job, steady: float | None) -> float | None:
    """A moment by the steady clock in Unix seconds."""
    return None if steady is None else round(job.created_at + steady - job.created_steady, 3)


def result_body(view: JobView, output: Output, root: str) -> ResultBody:
    """A succeeded job: its status and what is known of its output, without the bytes."""
    return {
        **status_body(view),
        "file_type": output.media_type,
        "output_url": _output_url(view.job, root),
        "output_path": output.path,
        "size": output.size,
        "sha256": output.sha256,
        "outputs": _output_infos(view.job, root),
        "applied": view.job.applied,
        "peak_memory": view.job.peak_memory,
        "output_removed": _removed(view.job),
        "timings": timings(view.job),
    }


def upload_body(upload: Upload) -> UploadBody:
    """What is known of an upload."""
    kind: Any = upload.kind
    return {
        "id": upload.digest,
        "kind": kind,
        "media_type": upload.media_type,
        "size": upload.size,
        "width": upload.width,
        "height": upload.height,
        "frames": upload.frames,
        "duration": upload.duration,
        "created_at": upload.created_at,
    }


def deleted_body(job_id: str) -> DeletedBody:
    """The job is not there any more."""
    return {"request_id": job_id, "deleted": True}


def job_summary(view: JobView, root: str) -> JobSummary:
    """A job in a list."""
    error: Any = None if view.job.error is None else view.job.error.as_dict()
    return {
        **status_body(view),
        "owner": view.job.owner,
        "output_url": _output_url(view.job, root),
        "outputs": _output_infos(view.job, root),
        "output_removed": _removed(view.job),
        "error": error,
    }


def job_body(whole: WholeJob, root: str) -> JobBody:
    """All of a job."""
    job = whole.view.job
    return {
        **job_summary(whole.view, root),
        "arguments": whole.arguments,
        "deadline_at": _wall_time(job, job.deadline),
        "applied": job.applied,
        "peak_memory": job.peak_memory,
        "timings": timings(job),
        "history": [{"type": event.type, "at": event.at, "data": event.data} for event in whole.history],
    }


def jobs_body(page: JobPage, cursor: Callable[[Place], str], root: str) -> JobsBody:
    """A page of a list. cursor: writes the place where the next one begins."""
    jobs = [job_summary(view, root) for view in page.jobs]
    return {"jobs": jobs, "next_cursor": None if page.next is None else cursor(page.next)}


def output_url(job: Job, root: str, index: int | None = None) -> str:
    """Where an output's file is, the first one's without an index."""
    return f"{root}/outputs/{job.id}" if index is None else f"{root}/outputs/{job.id}/{index}"


def _output_url(job: Job, root: str) -> str | None:
    return output_url(job, root) if job.outputs and job.outputs_removed_at is None else None


def _output_infos(job: Job, root: str) -> list[OutputInfo]:
    kept = job.outputs_removed_at is None
    return [_output_info(each, output_url(job, root, n) if kept else None) for n, each in enumerate(job.outputs)]


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


def _output_info(output: Output, url: str | None) -> OutputInfo:
    return {
        "url": url,
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
