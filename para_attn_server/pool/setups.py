"""How often a group's setup has failed in a row, and how long the next one waits. No clock of its own."""

from __future__ import annotations

from dataclasses import dataclass

from para_attn_server.core.messages import SetupError

BACKOFF_FIRST, BACKOFF_LAST = 0.5, 60.0
"""Seconds before a failed setup is tried again: doubled each time, up to the last."""
BROKEN_AFTER = 4
"""Failed setups in a row after which the group counts as broken; it goes on trying at the last backoff."""
MACHINERY_BACKOFF_LAST, MACHINERY_BROKEN_AFTER = 5.0, 10
"""The same for setups that failed because the forkserver died: the model is not to blame."""


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


class SetupFailures:
    """Counts failures in a row, those of the model and those of the server's own machinery apart."""

    def __init__(self) -> None:
        self._of_model = self._of_machinery = 0

    def forget(self) -> None:
        """A job has been done: whatever was wrong is over."""
        self._of_model = self._of_machinery = 0

    def add(self, failure: SetupFailure) -> tuple[float, bool]:
        """One more; seconds until the next try, and whether the group counts as broken now."""
        if failure.own_fault:
            self._of_model += 1
            count, last, limit = self._of_model, BACKOFF_LAST, BROKEN_AFTER
        else:
            self._of_machinery += 1
            count, last, limit = self._of_machinery, MACHINERY_BACKOFF_LAST, MACHINERY_BROKEN_AFTER
        broken = count >= limit
        return (BACKOFF_LAST if broken else min(BACKOFF_FIRST * 2.0 ** (count - 1), last)), broken
