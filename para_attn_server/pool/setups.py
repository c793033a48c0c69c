"""How often a group has failed in a row, in its setup or with a job, and how long it waits. No clock of its own."""

from __future__ import annotations

from dataclasses import dataclass

from para_attn_server.core.messages import SetupError

BACKOFF_FIRST, BACKOFF_LAST = 0.5, 60.0
"""Seconds before a failed setup is tried again: doubled each time, up to the last."""
BROKEN_AFTER = 4
"""Failed setups in a row after which the group counts as broken; it goes on trying at the last backoff."""
MACHINERY_BACKOFF_LAST, MACHINERY_BROKEN_AFTER = 5.0, 10
"""The same for setups that failed because the forkserver died: the model is not to blame."""
LOST_UNPAUSED, LOST_BROKEN_AFTER = 3, 10
"""Jobs' attempts lost in a row after which there is no pause yet, and after which the group counts as broken: a poison
job is none of the group's fault, but a GPU that fails each job must not burn the whole queue."""


@dataclass(frozen=True, slots=True)
class SetupFailure:
    """Why a group could not be set up. own_fault: False when the server's own machinery died, not the model."""

    error: SetupError
    own_fault: bool = True

    @classmethod
    def of(cls, rank: int, message: str, own_fault: bool = True) -> SetupFailure:
        """One that no rank has told."""
        return cls(SetupError(rank, message, ""), own_fault)

    def __str__(self) -> str:
        """For users."""
        return f"setup failed on rank {self.error.rank}: {self.error.message}"


class Failures:
    """Counts failures in a row: setups that failed by the model, by the server's own machinery, and attempts lost."""

    def __init__(self) -> None:
        self._of_model = self._of_machinery = self._lost = 0

    def forget(self) -> None:
        """A job has been done: whatever was wrong is over."""
        self._of_model = self._of_machinery = self._lost = 0

    def lost(self) -> tuple[float, bool]:
        """An attempt was lost with the group; seconds until the next launch, and whether the group counts as broken."""
        self._lost += 1
        if self._lost >= LOST_BROKEN_AFTER:
            return BACKOFF_LAST, True
        over = self._lost - LOST_UNPAUSED
        return (BACKOFF_FIRST * 2.0 ** (over - 1) if over > 0 else 0.0), False

    def add(self, failure: SetupFailure) -> tuple[float, bool]:
        """A setup failed; seconds until the next try, and whether the group counts as broken now."""
        if failure.own_fault:
            self._of_model += 1
            count, last, limit = self._of_model, BACKOFF_LAST, BROKEN_AFTER
        else:
            self._of_machinery += 1
            count, last, limit = self._of_machinery, MACHINERY_BACKOFF_LAST, MACHINERY_BROKEN_AFTER
        broken = count >= limit
        return (BACKOFF_LAST if broken else min(BACKOFF_FIRST * 2.0 ** (count - 1), last)), broken
