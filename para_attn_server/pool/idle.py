"""Whether the ranks of an idle group still live: each is pinged on its pipe, and its serving loop answers.

Running ranks are the watchdog's matter. What to do about a silent rank is the group's.
"""

from __future__ import annotations

from para_attn_server.core.wire.ranks import Ping
from para_attn_server.pool.ranks import Ranks

SILENT, PING_EVERY = 9.0, 2.5
"""Seconds without an answer after which an idle rank counts as stopped, and between two pings: a rank that is stopped
just after its answer is found within ten seconds."""


class IdleWatch:
    """The answers of one group's ranks between two runs; all live as that begins. Times are by the group's clock."""

    def __init__(self, num_ranks: int, now: float) -> None:
        self._answered_at = [now] * num_ranks
        self._pinged_at = now

    def answered(self, rank: int, now: float) -> None:
        """A rank has."""
        self._answered_at[rank] = now

    def silent_rank(self, ranks: Ranks, now: float) -> int | None:
        """Ping the ranks, if it is time; one that has not answered for too long, or None."""
        if now - self._pinged_at >= PING_EVERY:
            self._pinged_at = now
            ranks.send_all(Ping())
        return next((rank for rank, at in enumerate(self._answered_at) if now - at > SILENT), None)
