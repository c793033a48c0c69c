"""What the controller and its ranks say to each other, one plain dataclass per message.

One duplex pipe per rank carries them. The web workers never see these; their channel is `core/wire/control.py`.
Messages about a job carry its id and the serial of the run (a group's count of Run messages), so that a late one is
known by both and dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import Output

# --- controller to rank ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """Do this job. arguments are the resolved arguments of predict; the output goes to output_path.

    request_id: the name of the request that the job came by, for the log; None where that is forgotten. inputs: the
    paths of the files that the arguments name by their digests.
    """

    job_id: str
    serial: int
    arguments: dict[str, Any]
    output_path: str
    request_id: str | None = None
    inputs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cancel:
    """Leave this run at the next step. Sent to rank zero only; the others follow its decision."""

    serial: int


@dataclass(frozen=True, slots=True)
class StopWriting:
    """Leave what that run has returned unwritten. Sent to rank zero only, which may be in another run by now."""

    serial: int


@dataclass(frozen=True, slots=True)
class Settle:
    """After a failure: prove with a barrier that all ranks can still talk to each other."""

    serial: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Answer with Pong; sent between runs only."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Leave the process; no job is running."""


# --- rank to controller ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """setup() succeeded and the contract holds. schema: the request schema (rank zero only). tears_down: the predictor
    has a teardown(), which the rank's end waits for."""

    rank: int
    device: str
    schema: dict[str, Any] | None
    versions: dict[str, str]
    output_suffix: str
    tears_down: bool = False


@dataclass(frozen=True, slots=True)
class SetupError:
    """setup() failed or the contract is broken; traceback is for the log, never for a client.

    usage: the model was named wrongly; nothing was set up at all.
    """

    rank: int
    message: str
    traceback: str
    usage: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """Rank zero is about to call predict; all ranks hold the same arguments."""

    serial: int


@dataclass(frozen=True, slots=True)
class Step:
    """Rank zero has done `step` of `total` steps (total None where unknown)."""

    serial: int
    step: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Log:
    """Lines that the predictor logged for this job. left_out: how many before them were not sent."""

    serial: int
    lines: list[str]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Emit:
    """A piece of an event that the predictor has emitted. data: JSON in UTF-8, unless it is binary. more: another piece
    of the same event follows. dropped: how many events before this one were not sent."""

    serial: int
    kind: str
    data: bytes
    binary: bool
    more: bool = False
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """predict returned on this rank. outputs: rank zero's files, none from the others. points: control points passed.
    seconds: time in predict. connected: the process group that setup() made is still there. applied, timings,
    peak_memory: as in core.job.Result, as this rank saw it. held: bytes of what predict returned on rank zero, which is
    free for another run while a thread writes them; Written or Unwritten follows. None where the outputs are there."""

    serial: int
    rank: int
    points: int
    seconds: float
    outputs: tuple[Output, ...]
    connected: bool = True
    applied: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    peak_memory: int | None = None
    held: int | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """Rank zero has written what that run had returned. seconds: since predict returned."""

    serial: int
    outputs: tuple[Output, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Unwritten:
    """It has not, and nothing of it is left. error: why, None where it was to stop. traceback: as in Failed."""

    serial: int
    error: JobError | None = None
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Canceled:
    """This rank has left the run on rank zero's decision. connected: as in Finished."""

    serial: int
    rank: int
    points: int
    connected: bool = True


@dataclass(frozen=True, slots=True)
class Failed:
    """predict raised on this rank, or its arguments were refused. Sent at once: others may sit in a collective.

    transient: the predictor says that another try may do better. traceback: of the predictor's exception, for the job's
    log; empty where the error is not the predictor's.
    """

    serial: int
    rank: int
    points: int
    error: JobError
    transient: bool = False
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """The barrier that Settle asked for was passed; connected: False if there was none, as the process group that
    setup() had made is gone."""

    serial: int
    rank: int
    connected: bool = True


@dataclass(frozen=True, slots=True)
class Pong:
    """This rank waits for a job. Said by the loop that would run it."""

    rank: int


RankResult = Finished | Canceled | Failed
"""The terminal messages: this rank is out of the run."""

FromRank = Ready | SetupError | Started | Step | Log | Emit | RankResult | Written | Unwritten | Settled | Pong
ToRank = Run | Cancel | StopWriting | Settle | Stop | Ping
