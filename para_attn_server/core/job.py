"""A job: one accepted generation request, its life, and its history.

The table of allowed transitions lives here; the store writes them as guarded updates and nothing else changes a
status. This module does no I/O.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, fields
from enum import IntEnum, StrEnum
from typing import Any

from para_attn_server.core.errors import JobError

ANONYMOUS = "anonymous"
"""The owner of every job, as long as nobody has to say who they are."""
NATIVE = "native"
"""The dialect of the server's own API."""


class JobStatus(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def terminal(self) -> bool:
        """True when nothing can follow."""
        return not TRANSITIONS[self]


class Removal(StrEnum):
    """Why the server has removed the outputs of a job that is still on record."""

    EXPIRED = "expired"
    """They were older than --keep-outputs."""
    EVICTED = "evicted"
    """All outputs together had more than --max-output-bytes."""


TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.RUNNING: frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED, JobStatus.QUEUED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELED: frozenset(),
}


def sources_of(target: JobStatus) -> tuple[JobStatus, ...]:
    """The statuses from which `target` may be reached."""
    return tuple(source for source, targets in TRANSITIONS.items() if target in targets)


class Priority(IntEnum):
    """How urgent a job is, beside the others that wait."""

    LOW = -1
    NORMAL = 0
    HIGH = 1


@dataclass(frozen=True, slots=True)
class Output:
    """A finished output file: absolute path, media type, size in bytes, SHA-256 in hex.

    inode and mtime_ns: by which the file is recognized without being read; 0 if not recorded. role: what the file is
    to the job. width and height in pixels, duration in seconds; None where unknown.
    """

    path: str
    media_type: str
    size: int
    sha256: str
    inode: int = 0
    mtime_ns: int = 0
    role: str = "output"
    width: int | None = None
    height: int | None = None
    duration: float | None = None


PHASES = ("queue", "prepare", "encode_prompt", "denoise", "decode", "write")
"""What a job's time goes to, in order; a phase whose time is not known is None."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run has made of a job that succeeds.

    applied: what was really used (seed, sizes, steps, ranks ...), by name. timings: seconds by phase. peak_memory:
    bytes, of the rank that needed most.
    """

    outputs: tuple[Output, ...]
    applied: dict[str, Any] | None = None
    timings: dict[str, float | None] | None = None
    peak_memory: int | None = None


@dataclass(frozen=True, slots=True)
class RunId:
    """Names a run of a job: who has started it, and the how manieth start it was. A write about a running job is about
    one run, and is refused once that is over."""

    controller: str | None
    number: int

    def __str__(self) -> str:
        return f"run {self.number} of controller {self.controller}"


@dataclass(frozen=True, slots=True)
class NewJob:
    """A request that passed validation, ready for the queue.

    arguments: those of `predict` (defaults and seed filled in, `output_path` left out). seed: the one among
    them, None if the model takes none.
    output_path: absolute path the output will have; already checked against the allowed output root. output_root: that
    root; outputs below it are recorded relative to it.
    deadline: seconds by the steady clock after which the job is not worth running; target: by which it should be done,
    and is still worth running afterwards. idempotency_key: the client's name for the request; a second one of the same
    name is the same job, if its request_digest is the same too.
    model: None for the server's only one. owner: who submitted it. api: by which dialect. metadata: the client's own
    notes, a small JSON object. webhook: where to report to, as JSON. inputs: references to files kept by digest.
    """

    arguments: dict[str, Any]
    output_path: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    deadline: float | None = None
    idempotency_key: str | None = None
    request_digest: str | None = None
    seed: Any = None
    output_root: str | None = None
    model: str | None = None
    priority: Priority = Priority.NORMAL
    owner: str = ANONYMOUS
    api: str = NATIVE
    target: float | None = None
    metadata: dict[str, Any] | None = None
    webhook: dict[str, Any] | None = None
    inputs: tuple[str, ...] = ()

    def queued(self, seq: int, now: float, steady: float) -> Job:
        """The job that it is once it is in the queue."""
        kept = {name: getattr(self, name) for name in KEPT_OF_REQUEST}
        return Job(seq=seq, status=JobStatus.QUEUED, created_at=now, created_steady=steady, **kept)


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the queue, without the arguments: they may be megabytes, and only a run needs them.

    Times are Unix seconds; steps count from 0 done to `total_steps`. Durations are differences of the moments called
    steady, by a clock that never jumps (core/steady.py).

    seq orders the queue (a requeued job keeps its place). attempts counts runs that were started and charged to the
    job; a run cut short by a restart of the server is not charged. run counts every start and is never taken back;
    controller is the id of the one whose run it is, None before its first and while it waits for another.
    applied: what the last run really used. timings: seconds by phase. peak_memory: bytes. None where unknown.
    outputs_removed_at and outputs_removed_for (a Removal): when and why the server has removed the files of its
    outputs, None while it has not.
    """

    id: str
    seq: int
    status: JobStatus
    seed: Any
    output_path: str
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    attempts: int = 0
    group: int | None = None
    step: int = 0
    total_steps: int | None = None
    deadline: float | None = None
    created_steady: float = field(default=0.0, compare=False)
    started_steady: float | None = field(default=None, compare=False)
    finished_steady: float | None = field(default=None, compare=False)
    outputs_removed_at: float | None = None
    outputs_removed_for: str | None = None
    cancel_requested: bool = False
    outputs: tuple[Output, ...] = ()
    error: JobError | None = None
    output_root: str | None = None
    model: str | None = None
    priority: Priority = Priority.NORMAL
    owner: str = ANONYMOUS
    api: str = NATIVE
    target: float | None = None
    metadata: dict[str, Any] | None = None
    webhook: dict[str, Any] | None = None
    inputs: tuple[str, ...] = ()
    applied: dict[str, Any] | None = None
    timings: dict[str, float | None] | None = None
    peak_memory: int | None = None
    controller: str | None = None
    run: int = 0

    @property
    def run_id(self) -> RunId | None:
        """The run that is under way, None unless there is one."""
        return RunId(self.controller, self.run) if self.status is JobStatus.RUNNING else None

    @property
    def output(self) -> Output | None:
        """The first of its outputs, None without any."""
        return self.outputs[0] if self.outputs else None

    @property
    def queued_seconds(self) -> float | None:
        """How long it waited for its last attempt, None before that."""
        return None if self.started_steady is None else max(0.0, self.started_steady - self.created_steady)

    @property
    def run_seconds(self) -> float | None:
        """How long its last attempt took, None before its end."""
        if self.started_steady is None or self.finished_steady is None:
            return None
        return max(0.0, self.finished_steady - self.started_steady)


@dataclass(frozen=True, slots=True)
class Event:
    """One row of a job's history. type: queued, started, step, log, requeued, cancel_requested, succeeded, failed,
    canceled. data: what belongs to that type (step numbers, text, error, cause)."""

    id: int
    job_id: str
    type: str
    at: float
    data: dict[str, Any]


KEPT_OF_REQUEST = [each.name for each in fields(NewJob) if each.name in {of_job.name for of_job in fields(Job)}]
"""The fields of a NewJob that its Job has too."""
