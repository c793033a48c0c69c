"""One run of one job on one group: which ranks have left it, and what that makes of the job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import Result
from para_attn_server.core.logs import job_keys
from para_attn_server.core.wire.ranks import Failed, Finished, RankResult, Settled, Unwritten, Written
from para_attn_server.executors.base import ExitInfo
from para_attn_server.pool.results import mismatch_of, result_of


@dataclass(frozen=True, slots=True)
class Lost:
    """The run came to nothing through no error of the job's own: it may be tried again.

    error: what the job fails with if this was its last attempt. charge: whether this was an attempt; it was none when
    the server itself took the group down. from_outside: as in ExitInfo.
    """

    error: JobError
    charge: bool = True
    from_outside: bool = False


Ending = Result | JobError | None
"""How a job can end: with its result, its error, or None for canceled by its client."""
Outcome = Ending | Lost
"""What a run came to."""
GROUP_LOST = ("rank_lost", "hang")
"""The error types of a Lost whose group went down with the run."""
EXPIRED = JobError("expired", "its deadline passed before it was done", hint="allow more time with Job-TTL")
WRITING_LOST = Lost(JobError("rank_lost", "its worker group was lost while its output was written"), charge=False)
SERVER_STOPS = Lost(JobError("rank_lost", "the server stops"), charge=False)
SETTLE_LEAST = 0.5
"""Seconds that the other ranks have, at the least, to leave a run in which one has failed."""
SETTLE_UNPACED = 1.0, 3.0
"""The least and the most of them before a first step has shown the run's pace."""
LEAVE_LEAST = 3.0
"""Seconds that the other ranks have, at the least, to leave a run whose output is published."""
OF_THE_REQUEST = ("invalid_input", "arguments_mismatch")
"""The error types that no pause brings about."""
LOOK_AT_PART_AFTER = 0.5
"""Seconds of silence after which the file that rank zero writes is looked at."""


class StopReason(StrEnum):
    """What wants a run to stop."""

    CANCEL = "cancel"
    EXPIRY = "expiry"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class StopOrder:
    """A run is to be left before its end. outcome: what it comes to then. at_once: its ranks are killed, and do not
    leave by themselves at the end of a step."""

    reason: StopReason
    outcome: Outcome = None
    at_once: bool = False


CANCEL = StopOrder(StopReason.CANCEL)
EXPIRY = StopOrder(StopReason.EXPIRY, EXPIRED)
SHUTDOWN = StopOrder(StopReason.SHUTDOWN, SERVER_STOPS, at_once=True)


def timeout(seconds: float, step: int) -> StopOrder:
    """The run takes longer than a job may."""
    return StopOrder(StopReason.TIMEOUT, JobError("timeout", f"the job ran longer than {seconds:g} s", step=step))


@dataclass(slots=True)
class JobRun:
    """The run that a group is doing. Times are those of the group's clock; a deadline of None is not running.

    part: the file that rank zero writes. arguments: predict's. expires: its client's deadline (core/steady.py).
    stop_order: by which it is to be left, the first one. cancel_deadline: by when it must be.
    pauses_before: the clock's count of long pauses when it began. request_id: of the request that the job came by.
    settled: ranks that have been at the barrier. disconnected: ranks whose process group is gone.
    writing_end: what became of what rank zero still held when it had finished. alone: no job runs while it is written.
    entered: rank zero has called predict. alive_at: when a sign of life was last seen. worked_at: when that was seen of
    the work itself, and not only lines that it logs.
    """

    job_id: str
    serial: int
    started: float
    part: Path
    arguments: Mapping[str, Any]
    expires: float | None = None
    pauses_before: int = 0
    request_id: str | None = None
    alone: bool = False
    results: dict[int, RankResult] = field(default_factory=dict)
    writing_end: Written | Unwritten | None = None
    settled: set[int] = field(default_factory=set)
    disconnected: set[int] = field(default_factory=set)
    settle_deadline: float | None = None
    cancel_deadline: float | None = None
    stop_order: StopOrder | None = None
    entered: bool = False
    stacks_deadline: float | None = None
    alive_at: float = 0.0
    worked_at: float = 0.0
    _logged_at: float = 0.0
    _heartbeat: float = 0.0
    _logged: float = 0.0
    _written: tuple[int, ...] | None = None
    step: int = 0
    stepped_at: float | None = None
    longest_step: float = 0.0

    def __post_init__(self) -> None:
        self.alive_at = self.worked_at = self.started

    @property
    def names(self) -> dict[str, str]:
        """What a log line about the run says of it."""
        return job_keys(self.job_id, self.request_id)

    def silence(self, now: float) -> float:
        """Seconds since a sign of life was last seen."""
        return now - self.alive_at

    def look_for_life(self, heartbeat: float, now: float, logged: float = 0.0, step_timeout: float = 0.0) -> None:
        """A heartbeat that is new, or a part that has changed since it was last looked at: encoders have no heartbeat.

        heartbeat: the latest of its ranks. It is not compared with `now`: the ranks' clock does not stand still while
        the controller does. logged: of the latest line, which counts for up to `step_timeout` seconds without any
        other.
        """
        if heartbeat > self._heartbeat:
            self._heartbeat, self.worked_at = heartbeat, now
        elif self.silence(now) > LOOK_AT_PART_AFTER:
            written = _changes(self.part.parent) + _changes(self.part)
            if self._written not in (None, written):
                self.worked_at = now
            self._written = written
        if logged > self._logged:
            self._logged, self._logged_at = logged, now
        lines_count = now - self.worked_at <= step_timeout
        self.alive_at = max(self.worked_at, self._logged_at) if lines_count else self.worked_at

    def note_step(self, step: int, now: float) -> None:
        """Rank zero has done a step; remembers the longest time that one took."""
        if self.stepped_at is not None and step > self.step:
            self.longest_step = max(self.longest_step, (now - self.stepped_at) / (step - self.step))
        self.step, self.stepped_at = step, now

    @property
    def pace(self) -> float | None:
        """Seconds of its longest step so far; with one step only, of all up to its end; None before that."""
        return self.longest_step or (self.stepped_at and self.stepped_at - self.started)

    def settle_timeout(self, rebuild: float) -> float:
        """Seconds that the other ranks have to leave the run when one has failed: two steps. Before the first step, as
        many as it takes to rebuild the group, since that is what a timeout too short costs."""
        least, most = SETTLE_UNPACED
        return min(most, max(least, rebuild)) if self.pace is None else max(SETTLE_LEAST, 2 * self.pace)

    def leave_timeout(self, step_timeout: float) -> float:
        """Seconds that the other ranks have to leave the run when rank zero has published the output: two steps."""
        return min(step_timeout, max(LEAVE_LEAST, 2 * (self.pace or 0)))

    def note_result(self, message: RankResult) -> None:
        """A rank is out of the run; its first terminal message counts."""
        self.results.setdefault(message.rank, message)
        if not isinstance(message, Failed) and not message.connected:
            self.disconnected.add(message.rank)

    def note_settled(self, message: Settled) -> None:
        """A rank has been at the barrier, or found that there can be none."""
        self.settled.add(message.rank)
        if not message.connected:
            self.disconnected.add(message.rank)

    @property
    def failures(self) -> list[Failed]:
        """What failed, in the order in which it was reported."""
        return [message for message in self.results.values() if isinstance(message, Failed)]

    @property
    def result(self) -> Result | None:
        """What rank zero has finished, if it has, and written; None where another rank has finished something else."""
        if not self.is_finished or self.is_unwritten or isinstance(self.writing_end, Unwritten):
            return None
        return result_of(self._finished, self.writing_end)

    @property
    def is_finished(self) -> bool:
        """Whether predict has returned on rank zero, and not something else on another rank."""
        return isinstance(self.results.get(0), Finished) and self._mismatch is None

    @property
    def is_unwritten(self) -> bool:
        """Whether rank zero has finished, and still holds what it is to write."""
        return self.is_finished and self.held is not None and self.writing_end is None

    @property
    def held(self) -> int | None:
        """Bytes that rank zero held when it had finished; None where it had written its output by then."""
        first = self.results.get(0)
        return first.held if isinstance(first, Finished) else None

    @property
    def _finished(self) -> list[Finished]:
        found = [message for message in self.results.values() if isinstance(message, Finished)]
        return sorted(found, key=lambda message: message.rank)

    @property
    def _mismatch(self) -> JobError | None:
        return mismatch_of(self._finished)

    @property
    def consistent(self) -> bool:
        """False when failures happened at different control points: then some rank is ahead of another, and a message
        of one may wait in a channel for ever."""
        return len({failure.points for failure in self.failures}) <= 1

    def unsettled(self, num_ranks: int) -> str:
        """Why the ranks cannot be kept when their time to leave the run is over, in words."""
        failed = ", ".join(str(failure.rank) for failure in self.failures)
        inside = ", ".join(str(rank) for rank in range(num_ranks) if rank not in self.results)
        if not failed:
            return f"rank {inside} stayed inside the run after rank 0 had published the output"
        if inside:
            return f"rank {failed} failed while rank {inside} stayed inside the run"
        return f"rank {failed} failed and the ranks could not meet at a barrier afterwards"

    def outcome(self) -> Outcome:
        """What the job came to, once all ranks have left or will not.

        An output that rank zero has finished is the job's, whatever another rank did afterward, unless that one has
        finished something else. The cause of a failure is the first that explains it.
        """
        if (done := self.result or self._mismatch) is not None:
            return done
        if isinstance(self.writing_end, Unwritten) and self.writing_end.error is not None:
            return self.writing_end.error
        if self.is_unwritten and self.stop_order is None:
            return replace(WRITING_LOST, charge=True)
        if (cause := self.cause) is not None:
            return Lost(cause.error) if cause.transient and self.stop_error is None else cause.error
        return self.stop_outcome

    @property
    def stop_outcome(self) -> Outcome:
        """What the job comes to where nothing but a stop order ends the run."""
        return self.stop_order.outcome if self.stop_order is not None else None

    @property
    def stop_error(self) -> JobError | None:
        """What the job fails with then, where it does."""
        return self.stop_outcome if isinstance(self.stop_outcome, JobError) else None

    @property
    def cause(self) -> Failed | None:
        """The failure that explains the run's outcome, where a failure does."""
        if self.is_finished or not self.failures:
            return None
        return min(self.failures, key=lambda failure: failure.error.type == "arguments_mismatch")

    def without_pauses(self, outcome: Outcome, pauses: int) -> Outcome:
        """The outcome if the machine had not been paused for long in this run: what failed is tried again, uncharged.

        Collectives, and whatever else talks to other machines, go by clocks that do not stand still. pauses: the
        clock's count by now.
        """
        error = outcome.error if isinstance(outcome, Lost) else outcome
        if not isinstance(error, JobError) or self.stop_error is not None or error.type in OF_THE_REQUEST:
            return outcome
        return Lost(error, charge=False) if pauses > self.pauses_before else outcome

    def outcome_of_death(self, rank: int, death: ExitInfo) -> Outcome:
        """What a rank's death makes of the run: nothing new if that rank had reported before that the job failed.

        Failures of its peers are no cause: they may be what the death did to them.
        """
        if isinstance(self.results.get(rank), Failed) or self.stop_error is not None:
            return self.outcome()
        error = JobError("rank_lost", f"rank {rank} {death.how}", rank, self.step, death.hint)
        return Lost(error, death.own_fault, death.from_outside)


def _changes(path: Path) -> tuple[int, ...]:
    """What differs when a file has been written to, or when a file has come into a folder."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return found.st_size, found.st_mtime_ns
