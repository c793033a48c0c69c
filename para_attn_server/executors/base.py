"""What an executor does for a worker group, and what it reports to it. All calls are on the controller's loop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import TYPE_CHECKING, Protocol

from para_attn_server.core.wire.launch import GroupSpec, GroupWish
from para_attn_server.core.wire.ranks import FromRank, ToRank
from para_attn_server.core.wire.step_board import Progress

if TYPE_CHECKING:
    from para_attn_server.core.settings import Settings


@dataclass(frozen=True, slots=True)
class ExecutorOptions:
    """What a server asks of its executor: the settings of these names, and what it wants for each group."""

    device: str
    groups: list[GroupWish]
    preload: str
    bind_cores: bool

    @classmethod
    def of(cls, settings: Settings, groups: list[GroupWish]) -> ExecutorOptions:
        """A server's."""
        return cls(settings.device, groups, settings.preload, settings.bind_cores)


@dataclass(frozen=True, slots=True)
class ExitInfo:
    """How a rank's process ended.

    how: in words that follow its name, such as `was killed by SIGKILL`. own_fault: False when it was taken down by the
    death of what had started it. hint: what to change, if known. signal: the number of the signal that ended it, or
    what had started it.
    oom: the kernel's out-of-memory killer sent that.
    """

    how: str
    own_fault: bool = True
    hint: str | None = None
    signal: int | None = None
    oom: bool = False

    @property
    def from_outside(self) -> bool:
        """Somebody ended it: SIGKILL or SIGTERM, neither of which a fault of its own brings about."""
        return not self.oom and self.signal in (SIGKILL, SIGTERM)


class RankHandle(Protocol):
    """One started rank.

    pid: for users to see; of whichever machine the rank runs on, None where it has none.
    """

    @property
    def pid(self) -> int | None:
        """See above."""

    def send(self, message: ToRank) -> None:
        """Never blocks; a message to a dead rank is dropped (`died` reports its death)."""

    def request_stacks(self) -> None:
        """Ask the rank for the Python stacks of its threads; it works in native code too, not in a stopped process."""

    def stacks(self) -> str:
        """What the rank has printed since, as far as it is known here; empty if it could not."""

    def stopped(self) -> bool:
        """True when the process is stopped by a signal or a debugger, as far as it is known here."""

    def kill(self) -> None:
        """SIGKILL to the rank and to the processes that it started. Asked again, it does it again."""


class StepChannel(Protocol):
    """What the ranks of one launch report of their steps without sending it."""

    def progress(self, rank: int) -> Progress:
        """The last that is known of a rank. Its times are by one clock of this machine, whichever; they only grow."""


class RankEvents(Protocol):
    """What a group hears of its ranks. `generation` is the launch's, so that news of an earlier one is dropped."""

    def launched(self, generation: int, handles: list[RankHandle], steps: StepChannel) -> None:
        """All ranks of a launch have been started."""

    def launch_failed(self, generation: int, reason: str, own_fault: bool, from_outside: bool = False) -> None:
        """They have not; none of them is left. own_fault, from_outside: as in ExitInfo."""

    def message(self, generation: int, rank: int, message: FromRank) -> None:
        """A rank has said something."""

    def died(self, generation: int, rank: int, death: ExitInfo) -> None:
        """A rank's process has ended, and no part of it holds a device. Said once, after its messages."""


class Executor(Protocol):
    """Starts the ranks of groups. It chooses their machines, devices and cores, and where they meet.

    ranks: how many each group has.
    """

    ranks: list[int]

    def start(self, loop: asyncio.AbstractEventLoop, lock: Path) -> None:
        """Begin to work on that loop. lock: the locked file of the state directory."""

    def launch(self, generation: int, spec: GroupSpec, events: RankEvents) -> None:
        """Start a group's ranks, of which none is left of the launch before; the outcome comes through `events`.

        Raises OSError or ServerError where nothing was begun.
        """

    def abort_launch(self) -> None:
        """A launch takes too long: have it end, with `launch_failed` or with ranks that can be killed. Others that are
        under way may end with it."""

    def tick(self, now: float) -> None:
        """Act on deadlines. now: seconds that the controller has run."""

    def close(self) -> None:
        """Give up the machinery; all ranks have ended."""
