"""What an executor does for a worker group, and what it reports to it. All calls are on the controller's loop."""

from __future__ import annotations

from dataclasses import dataclass
from signal import SIGKILL, SIGTERM
from typing import Protocol

from para_attn_server.core.wire.launch import RankSpec
from para_attn_server.core.wire.ranks import FromRank, ToRank


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
    """One started rank."""

    pid: int

    def send(self, message: ToRank) -> None:
        """Never blocks; a message to a dead rank is dropped (`died` reports its death)."""

    def request_stacks(self) -> None:
        """Ask the rank for the Python stacks of its threads; it works in native code too, not in a stopped process."""

    def stacks(self) -> str:
        """What the rank has printed since, empty if it could not."""

    def stopped(self) -> bool:
        """True when the process is stopped by a signal or a debugger."""

    def kill(self) -> None:
        """SIGKILL to the rank and to the processes that it started. Asked again, it does it again."""


class RankEvents(Protocol):
    """What a group hears of its ranks. `generation` is the launch's, so that news of an earlier one is dropped."""

    def launched(self, generation: int, handles: list[RankHandle]) -> None:
        """All ranks of a launch have been started."""

    def launch_failed(self, generation: int, reason: str, own_fault: bool, from_outside: bool = False) -> None:
        """They have not; none of them is left. own_fault, from_outside: as in ExitInfo."""

    def message(self, generation: int, rank: int, message: FromRank) -> None:
        """A rank has said something."""

    def died(self, generation: int, rank: int, death: ExitInfo) -> None:
        """A rank's process has ended. Said once, after its messages."""


class Executor(Protocol):
    """Starts the ranks of groups."""

    def launch(self, generation: int, specs: list[RankSpec], board_fd: int, events: RankEvents) -> None:
        """Start one rank per spec; the outcome comes through `events`."""

    def abort_launch(self) -> None:
        """A launch takes too long: have it end, with `launch_failed` or with ranks that `launched` can kill."""

    def close(self) -> None:
        """Give up the machinery; all ranks have ended."""
