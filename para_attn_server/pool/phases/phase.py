"""What the phases of a group share: its parts, the moves from one phase to the next, and the reactions by default.

Decides nothing: each phase knows when it is over, and names what follows by a move. `pool/group.py` makes the moves, so
that no phase imports another.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

import structlog

from para_attn_server.core.clock import RunningClock
from para_attn_server.core.wire.ranks import FromRank
from para_attn_server.executors.base import Executor, ExitInfo, RankHandle, StepChannel
from para_attn_server.pool.backoff import Backoff, SetupFailure
from para_attn_server.pool.listener import GroupListener, GroupState
from para_attn_server.pool.monitor import Timeouts
from para_attn_server.pool.outbox import Outbox
from para_attn_server.pool.ranks import Ranks
from para_attn_server.pool.run import JobRun, Outcome, StopOrder
from para_attn_server.pool.streak import FailureStreak
from para_attn_server.pool.writing import Writings

log = structlog.get_logger()


class GroupParts(ABC):
    """A group as its phases see it.

    state, since, cause: what users see. ranks: of the launch of number `generation`. serial: counts the runs. All times
    are by `clock`. writings: results that its rank zero still writes.
    """

    def __init__(
        self,
        index: int,
        num_ranks: int,
        executor: Executor,
        listener: GroupListener,
        timeouts: Timeouts,
        clock: RunningClock,
    ) -> None:
        self.index, self.num_ranks = index, num_ranks
        self.executor, self.listener, self.timeouts, self.clock = executor, listener, timeouts, clock
        self.state, self.since, self.cause = GroupState.STARTING, time.time(), ""
        self.outbox = Outbox()
        self.ranks = Ranks(num_ranks)
        self.backoff, self.streak = Backoff(), FailureStreak()
        self.generation = self.serial = 0
        self.launched_at = self.ready_at = 0.0
        self.writings = Writings(self)

    def show(self, state: GroupState) -> None:
        """What users see from now on."""
        if self.state is not GroupState.STOPPING:  # from which nothing leads back
            self.state, self.since = state, time.time()
            self.changed()

    def changed(self) -> None:
        """Users see something new."""
        self.outbox.post(self.listener.group_changed)

    def lose(self, cause: str, verdict: Outcome, run: JobRun | None = None) -> None:
        """Kill and rebuild. verdict: what the run came to; it is reported when the run's last rank is dead."""
        log.error("worker group is rebuilt", group=self.index, cause=cause)
        self.cause = cause
        self.show(GroupState.RECOVERING)
        self.end_ranks(verdict=verdict, run=run)

    # --- the moves ---

    @abstractmethod
    def launch(self) -> None:
        """Start ranks: none of the launch before is left."""

    @abstractmethod
    def wait_for_job(self, damage: str | None = None) -> None:
        """All ranks are ready, and none is in a run. damage: why they must be replaced once nothing is written."""

    @abstractmethod
    def leave(self) -> None:
        """Let idle ranks end by themselves, for good."""

    @abstractmethod
    def end_ranks(
        self,
        *,
        verdict: Outcome = None,
        run: JobRun | None = None,
        failure: SetupFailure | None = None,
        launching: bool = False,
    ) -> None:
        """Kill all ranks, then start others or rest. launching: ranks may still come, and are killed as they do."""

    @abstractmethod
    def rest(self, pause: float) -> None:
        """No rank is left; wait before the next launch."""

    @abstractmethod
    def finish(self) -> None:
        """No rank is left, and none will come."""

    @abstractmethod
    def stop_run(self, order: StopOrder) -> None:
        """Have the ranks leave the run."""


class Phase:
    """One phase of a group. What a phase does not expect is dropped.

    deadline: when it has taken too long, None where it may last. run: the job's, None where there is none.
    """

    deadline: float | None = None
    run: JobRun | None = None

    def __init__(self, group: GroupParts) -> None:
        self.group = group

    def begin(self) -> None:
        """The group has entered this phase, and may go on to another at once."""

    def tick(self, now: float) -> None:
        """Act on the deadlines that have passed."""
        if self.deadline is not None and now >= self.deadline:
            self.deadline = None
            self.overdue()

    def overdue(self) -> None:
        """It has taken too long."""

    def launched(self, handles: list[RankHandle], steps: StepChannel) -> None:
        """The ranks have been started."""

    def launch_failed(self, failure: SetupFailure) -> None:
        """They have not, and none is left."""

    def message(self, rank: int, message: FromRank) -> None:
        """A rank of this launch has said something."""
        if hasattr(message, "serial"):
            log.debug("late message dropped", group=self.group.index, rank=rank, message=type(message).__name__)

    def died(self, rank: int, death: ExitInfo) -> None:
        """A rank of this launch has ended."""

    def let_go(self) -> None:
        """Rank zero has let go of a result that it held."""

    def abandon(self, verdict: Outcome) -> None:
        """The run is left at once: its ranks are killed. verdict: what it comes to."""

    def rebuild(self, cause: str) -> None:
        """Ranks that were started before now are to be replaced. Where none is left, those that follow are new."""

    def stop(self) -> None:
        """The server stops."""
