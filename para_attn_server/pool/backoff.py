"""How often a group has failed in a row, in its setup or with a job, and how long it waits. No clock of its own."""

from __future__ import annotations

from dataclasses import dataclass

from para_attn_server.core.wire.ranks import SetupError

BACKOFF_FIRST, BACKOFF_LAST = 0.5, 60.0
"""Seconds before a failed setup is tried again: doubled each time, up to the last."""
BROKEN_AFTER = 4
"""Failed setups in a row after which the group counts as broken; it goes on trying at the last backoff."""
MACHINERY_BACKOFF_LAST, MACHINERY_BROKEN_AFTER = 5.0, 10
"""The same for setups that failed because the forkserver died by itself: the model is not to blame."""
KILLS_UNPAUSED, KILLED_BACKOFF_LAST = 3, 5.0
"""Ranks or forkservers killed from outside in a row after which there is no pause yet, and the longest pause: whoever
kills them, the group is not to blame, and never counts as broken for it."""
LOST_UNPAUSED, LOST_BROKEN_AFTER = 3, 10
"""Jobs' attempts lost in a row after which there is no pause yet, and after which the group counts as broken: a poison
job is none of the group's fault, but a GPU that fails each job must not burn the whole queue."""


@dataclass(frozen=True, slots=True)
class SetupFailure:
    """Why a group could not be set up. own_fault, from_outside: as in ExitInfo."""

    error: SetupError
    own_fault: bool = True
    from_outside: bool = False

    @classmethod
    def of(cls, rank: int, message: str, own_fault: bool = True, from_outside: bool = False) -> SetupFailure:
        """One that no rank has told."""
        return cls(SetupError(rank, message, ""), own_fault, from_outside)

    def __str__(self) -> str:
        """For users."""
        return f"setup failed on rank {self.error.rank}: {self.error.message}"


class Backoff:
    """Counts failures in a row: setups that failed by the model, by the server's own machinery, kills from outside, and
    attempts lost."""

    def __init__(self) -> None:
        self._of_model = self._of_machinery = self._kills = self._lost = 0

    def forget(self) -> None:
        """A job has been done: whatever was wrong is over."""
        self._of_model = self._of_machinery = self._kills = self._lost = 0

    def lost(self, from_outside: bool) -> tuple[float, bool]:
        """An attempt was lost with the group; seconds until the next launch, and whether the group counts as broken."""
        if from_outside:
            return self._killed(), False
        self._lost += 1
        if self._lost >= LOST_BROKEN_AFTER:
            return BACKOFF_LAST, True
        return _pause(self._lost - LOST_UNPAUSED, BACKOFF_LAST), False

    def add(self, failure: SetupFailure) -> tuple[float, bool]:
        """A setup failed; seconds until the next try, and whether the group counts as broken now."""
        if failure.from_outside:
            return self._killed(), False
        if failure.own_fault:
            self._of_model += 1
            count, last, limit = self._of_model, BACKOFF_LAST, BROKEN_AFTER
        else:
            self._of_machinery += 1
            count, last, limit = self._of_machinery, MACHINERY_BACKOFF_LAST, MACHINERY_BROKEN_AFTER
        broken = count >= limit
        return (BACKOFF_LAST if broken else _pause(count, last)), broken

    def _killed(self) -> float:
        self._kills += 1
        return _pause(self._kills - KILLS_UNPAUSED, KILLED_BACKOFF_LAST)


def _pause(count: int, last: float) -> float:
    """Doubled each time, up to the last; none for a count below one."""
    return min(BACKOFF_FIRST * 2.0 ** min(count - 1, 32), last) if count > 0 else 0.0
