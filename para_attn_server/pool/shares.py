"""How many seconds of groups each owner has had, for the fair share (pool/scheduler.py). No I/O, no clock.

Only differences between owners that wait at the same time mean anything. An owner that comes (back) begins at the least
of the others: what it did not use while it had nothing to do is not saved up.
"""

from __future__ import annotations

from collections.abc import Mapping, Set


class Shares:
    """Seconds by owner, of those that have jobs queued or running."""

    def __init__(self) -> None:
        self._used: dict[str, float] = {}

    def add(self, owner: str, seconds: float) -> None:
        """A run of that owner's has ended."""
        if owner in self._used:
            self._used[owner] += seconds

    def among(self, owners: Set[str]) -> Mapping[str, float]:
        """Seconds of these owners, who are all that have jobs now; the others are forgotten."""
        known = {owner: used for owner, used in self._used.items() if owner in owners}
        least = min(known.values(), default=0.0)
        self._used = {owner: known.get(owner, least) - least for owner in owners}
        return self._used
