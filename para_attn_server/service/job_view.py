"""What the service tells HTTP dialects of jobs. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from para_attn_server.core.job import Event, Job, JobStatus
from para_attn_server.core.wire.control import Beat, GroupView, PoolView, QueueView
from para_attn_server.stores.base import OutputTotals, Place, QueueCounts


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as clients see it: `job` has the live step; queue_position counts the jobs before a queued one;
    eta_seconds until it ends. None: not queued, or unknown. writing: its run is over, and its output is written.
    reason: why a queued one cannot start for now."""

    job: Job
    queue_position: int | None = None
    eta_seconds: float | None = None
    writing: bool = False
    reason: str | None = None


class ModelState(StrEnum):
    """How a model stands."""

    READY = "ready"
    """Jobs run, or could."""
    STARTING = "starting"
    """It is being loaded for the first time, or again after a failure."""
    BROKEN = "broken"
    """None of its groups works."""


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model as clients see it. schema: of its arguments, None until they are known. cause: why it takes no job now,
    None where it does. queued and running: its jobs."""

    name: str
    state: ModelState
    groups: list[GroupView]
    schema: dict[str, Any] | None
    cause: str | None
    queued: int
    running: int


@dataclass(frozen=True, slots=True)
class OutputUse:
    """The output files that are kept. max_bytes: most that they may have together, None for any number."""

    totals: OutputTotals
    max_bytes: int | None


@dataclass(frozen=True, slots=True)
class ServerView:
    """The server as clients see it. counts: jobs by status. lag: how late the controller's loop was so far."""

    pool: PoolView
    queue: QueueView
    counts: QueueCounts
    outputs: OutputUse
    lag: Beat


@dataclass(frozen=True, slots=True)
class WholeJob:
    """All that is known of a job. history: its events in order, without steps and log."""

    view: JobView
    arguments: dict[str, Any]
    history: list[Event]


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs of a list, newest first. next: where the following page begins, None where this is the last."""

    jobs: list[JobView]
    next: Place | None


@dataclass(frozen=True, slots=True)
class JobLog:
    """A part of a job's log. status: the job's before the log was read, so that one that has ended has no more of it.

    next: the cursor from which to read on.
    """

    status: JobStatus
    text: str
    next: int


def log_text(row: Event) -> str:
    """A row of a job's log as lines."""
    if row.type == "traceback":
        return f"Rank {row.data['rank']} failed:\n{row.data['text'].rstrip()}\n"
    text = row.data.get("text")
    return f"... {row.data['left_out']} lines are left out ...\n" if text is None else f"{text}\n"
