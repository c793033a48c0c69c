"""The control channel between the controller and the web workers: JSON lines over a Unix socket.

It carries hints and orders, never the truth: jobs live in the store, and whoever misses a message here finds out
from there. The controller binds `control.sock` in the state directory; each web worker holds one connection.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

from para_attn_server.core.job import Job, JobStatus, Priority
from para_attn_server.core.steady import steady

SOCKET_NAME = "control.sock"

# --- web to controller ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job has been inserted into the store, by the request of that name (X-Request-Id). job: its row, so that nobody
    has to read it before it starts."""

    job: Job
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """Cancel a job; job_id None means the oldest running one. `request` comes back in the CancelReply."""

    request: int
    job_id: str | None


@dataclass(frozen=True, slots=True)
class Alive:
    """The web worker's event loop goes round: said every few seconds."""


@dataclass(frozen=True, slots=True)
class Follow:
    """A client follows this running job: its steps are wanted."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Listen:
    """Somebody listens to the job's events: what is kept of them is wanted, then each, and its steps."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Unlisten:
    """Nobody does any more."""

    job_id: str


# --- controller to web ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CancelReply:
    """job_id: the job that is being canceled (or is already); None: there was nothing to cancel. error: why the store
    could not take the order, for clients: the job stays queued. job: its row as the controller knows it, where it runs
    or is about to. unwritten: why its end cannot be written at the moment, for clients."""

    request: int
    job_id: str | None
    error: str | None = None
    job: Job | None = None
    unwritten: str | None = None


@dataclass(frozen=True, slots=True)
class JobUpdate:
    """A job has changed its status, or made a step: that goes to those only who follow it."""

    job_id: str
    status: str
    step: int
    total_steps: int | None


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """What a predictor has emitted, for those only who listen. number: in that run, from 1; where some are missing
    between two, they are lost. data: JSON text, or base64 where it is binary. at: Unix seconds."""

    job_id: str
    run: int
    number: int
    kind: str
    at: float
    data: str
    binary: bool


@dataclass(frozen=True, slots=True)
class LiveMark:
    """Where a job's live events stand: its run, 0 where none is under way, and the number of the last one. over: none
    follow in this run, and those that have not come are lost."""

    job_id: str
    run: int
    last: int
    over: bool = False


@dataclass(frozen=True, slots=True)
class RowsWritten:
    """The job's history in the store has more rows, without a change of its status."""

    job_id: str


@dataclass(frozen=True, slots=True)
class RankView:
    """One rank as users see it."""

    rank: int
    pid: int | None
    device: str | None


class GroupState(StrEnum):
    """What users see of a group."""

    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    RECOVERING = "recovering"
    BROKEN = "broken"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class GroupView:
    """One worker group as users see it. since: Unix seconds; cause: why it is recovering or broken. writing: jobs whose
    runs are over and whose outputs it still writes. model: the short name of the one that it has."""

    index: int
    state: GroupState
    since: float
    ranks: list[RankView]
    job_id: str | None = None
    cause: str | None = None
    writing: list[str] = field(default_factory=list)
    model: str = ""


@dataclass(frozen=True, slots=True)
class PoolView:
    """The pool as users see it, sent on every change. started_steady: started_at by the steady clock; stopping: a drain
    has begun; mean_seconds: recent mean time of a
    job on a group, None before the first; versions: of the packages in the ranks; trouble: why a new job would fail,
    None if nothing is in its way; held: no job is taken until then; notices: what an operator should know."""

    started_at: float
    stopping: bool = False
    groups: list[GroupView] = field(default_factory=list)
    mean_seconds: float | None = None
    versions: dict[str, str] = field(default_factory=dict)
    started_steady: float = field(default_factory=steady, compare=False)
    trouble: str | None = None
    held: bool = False
    notices: list[str] = field(default_factory=list)

    @property
    def broken(self) -> str | None:
        """Why no group works; None while one does, or is being started."""
        return _broken(self.groups)

    def groups_of(self, model: str) -> list[GroupView]:
        """The groups of that model."""
        return [group for group in self.groups if group.model == model]

    def broken_of(self, model: str) -> str | None:
        """Why no group of that model works; None while one does, or is being started."""
        return _broken(self.groups_of(model))


def _broken(groups: list[GroupView]) -> str | None:
    if not groups or any(group.state is not GroupState.BROKEN for group in groups):
        return None
    return groups[0].cause or "all worker groups are broken"


@dataclass(frozen=True, slots=True)
class QueueView:
    """The queue as it will be worked off, sent at most twice a second and only when it has changed.

    jobs: ids of the queued jobs in the order of their start, the first ones only where very many wait; ends: when each
    will have ended, by the steady clock, None where that is unknown. running: seconds that each running job takes in
    all. next_start: when the next job starts, by the steady clock. shapes and error: what the cost model knows, and the
    median relative error of its last estimates. places: how many jobs of its model start before each; none where that
    is its place among all. waiting and at_work: how many jobs of each model are queued and running.
    """

    jobs: list[str] = field(default_factory=list)
    ends: list[float | None] = field(default_factory=list)
    running: dict[str, float] = field(default_factory=dict)
    next_start: float | None = None
    shapes: int = 0
    error: float | None = None
    places: list[int] = field(default_factory=list)
    waiting: dict[str, int] = field(default_factory=dict)
    at_work: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Beat:
    """The controller's loop goes round: said every 1.5 s. How late it was so far, in seconds: half of the time at most
    median, 999 times in a thousand at most p999, once longest."""

    median: float = 0.0
    p999: float = 0.0
    longest: float = 0.0


ToController = Submitted | CancelOrder | Alive | Follow | Listen | Unlisten
OfLive = LiveEvent | LiveMark | RowsWritten
ToWeb = CancelReply | JobUpdate | OfLive | PoolView | QueueView | Beat
_MESSAGES: tuple[type, ...] = (*get_args(ToController), *get_args(ToWeb))
_JOB_FIELDS = fields(Job)
_TYPES: dict[str, Any] = {cls.__name__: cls for cls in _MESSAGES}


def encode(message: ToController | ToWeb) -> bytes:
    """One line of JSON."""
    return json.dumps({"type": type(message).__name__, **_fields_of(message)}, default=_fields_of).encode() + b"\n"


def decode(line: bytes) -> ToController | ToWeb:
    """The message of one line; raises ValueError if it is none."""
    data = json.loads(line)
    cls = _TYPES.get(str(data.pop("type", ""))) if isinstance(data, dict) else None
    if cls is None:
        raise ValueError("unknown control message")
    try:
        if cls is PoolView:
            data["groups"] = [_group_of(group) for group in data["groups"]]
        if data.get("job") is not None:
            data["job"] = _job_of(data["job"])
        message: ToController | ToWeb = cls(**data)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"malformed control message: {error}") from error
    return message


def _group_of(fields: dict[str, Any]) -> GroupView:
    fields["state"] = GroupState(fields["state"])
    fields["ranks"] = [RankView(**rank) for rank in fields["ranks"]]
    return GroupView(**fields)


def _job_of(fields: dict[str, Any]) -> Job:
    fields["status"] = JobStatus(fields["status"])
    fields["priority"] = Priority(fields.get("priority", Priority.NORMAL))
    fields["inputs"] = tuple(fields.get("inputs", ()))
    return Job(**fields)


def _fields_of(value: Any) -> dict[str, Any]:
    """Of a message or what is in one; of a job what is not the same in every new one. Half of what asdict() takes."""
    if isinstance(value, Job):
        values = ((field, getattr(value, field.name)) for field in _JOB_FIELDS)
        return {field.name: value for field, value in values if value != field.default}
    return {name: getattr(value, name) for name in type(value).__slots__}


class LineBuffer:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[ToController | ToWeb]:
        """The messages that `data` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield decode(line)


@contextmanager
def _short_path(state_dir: Path) -> Iterator[str]:
    """A path to the socket that fits the 107 bytes of a Unix address, however deep the state directory lies."""
    fd = os.open(state_dir, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET_NAME}"
    finally:
        os.close(fd)


def listen(state_dir: Path) -> socket.socket:
    """The controller's listening socket, non-blocking, readable and writable by this user only."""
    (state_dir / SOCKET_NAME).unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    with _short_path(state_dir) as path:
        server.bind(path)
        (state_dir / SOCKET_NAME).chmod(0o600)
    server.listen(64)
    server.setblocking(False)
    return server


def connect(state_dir: Path) -> socket.socket:
    """A web worker's connection; raises OSError when no controller listens."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with _short_path(state_dir) as path:
            client.connect(path)
    except OSError:
        client.close()
        raise
    return client
