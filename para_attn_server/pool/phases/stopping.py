"""The orderly end of a group: idle ranks leave by themselves. Ranks in a run or a setup are killed (recovering.py)."""

from __future__ import annotations

from para_attn_server.core.predictor import TEARDOWN_TIMEOUT
from para_attn_server.core.wire.ranks import Stop
from para_attn_server.executors.base import ExitInfo
from para_attn_server.pool.phases.phase import GroupParts, Phase
from para_attn_server.pool.run import SERVER_STOPS

STOP_TIMEOUT = 2.0
"""Seconds that idle ranks have to leave after Stop, besides those of teardown()."""


class Leaving(Phase):
    """Idle ranks have been asked to end."""

    def __init__(self, group: GroupParts) -> None:
        super().__init__(group)
        slower = any(slot.ready is not None and slot.ready.tears_down for slot in group.ranks.slots)
        self.deadline = group.clock() + STOP_TIMEOUT + (TEARDOWN_TIMEOUT if slower else 0.0)

    def begin(self) -> None:
        self.group.ranks.send_all(Stop())

    def died(self, rank: int, death: ExitInfo) -> None:
        if not self.group.ranks.any_alive:
            self.group.writings.lost(SERVER_STOPS)
            self.group.finish()

    def overdue(self) -> None:
        self.group.end_ranks()

    def stop(self) -> None:
        """Once more: at once."""
        self.group.end_ranks()


class Stopped(Phase):
    """No rank is left, and none will come."""

    def begin(self) -> None:
        self.group.changed()
