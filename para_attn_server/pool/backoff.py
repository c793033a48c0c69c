"""How often a group has failed in a row, in its setup or with a job, and how long it waits. No clock of its own."""

from __future__ import annotations

from dataclasses import dataclass

from para_attn_server.core.backoff import ExponentialBackoff
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
        """One that no rank has reported."""
        return cls(SetupError(rank, message, ""), own_fault, from_outside)

    def __str__(self) -> str:
        """For users."""
        return f"setup failed on rank {self.error.rank}: {self.error.message}"


class Backoff:
    """Counts failures in a row: setups that failed by the model, by the server's own machinery, kills from outside, and
    attempts lost."""

    def __init__(self) -> None:
        self._of_model = ExponentialBackoff(BACKOFF_FIRST, BACKOFF_LAST)
        self._of_machinery = ExponentialBackoff(BACKOFF_FIRST, MACHINERY_BACKOFF_LAST)
        self._kills = ExponentialBackoff(BACKOFF_FIRST, KILLED_BACKOFF_LAST, KILLS_UNPAUSED)
        self._lost = ExponentialBackoff(BACKOFF_FIRST, BACKOFF_LAST, LOST_UNPAUSED)

    def forget(self) -> None:
        """A job has been done: whatever was wrong is over."""
        for each in (self._of_model, self._of_machinery, self._kills, self._lost):
            each.reset()

    def lost(self, from_outside: bool) -> tuple[float, bool]:
        """An attempt was lost with the group; seconds until the next launch, and whether the group counts as broken."""
        if from_outside:
            return self._kills.fail(), False
        return _broken_after(LOST_BROKEN_AFTER, self._lost)

    def add(self, failure: SetupFailure) -> tuple[float, bool]:
        """A setup failed; seconds until the next try, and whether the group counts as broken now."""
        if failure.from_outside:
            return self._kills.fail(), False
        if failure.own_fault:
            return _broken_after(BROKEN_AFTER, self._of_model)
        return _broken_after(MACHINERY_BROKEN_AFTER, self._of_machinery)


def _broken_after(limit: int, failures: ExponentialBackoff) -> tuple[float, bool]:
    pause = failures.fail()
    return (BACKOFF_LAST, True) if failures.failures >= limit else (pause, False)
