"""Between jobs: all ranks are ready, and are asked now and then whether they still live."""

from __future__ import annotations

import structlog

from para_attn_server.core.wire.ranks import FromRank, Pong
from para_attn_server.executors.base import ExitInfo
from para_attn_server.pool.backoff import SetupFailure
from para_attn_server.pool.idle import IdleWatch
from para_attn_server.pool.listener import GroupState
from para_attn_server.pool.phases.phase import GroupParts, Phase

log = structlog.get_logger()

YOUNG = 60.0
"""Seconds after its setup in which the death of an idle rank counts as a failed setup."""


class Waiting(Phase):
    """The group waits for a job, for as long as it takes."""

    def __init__(self, group: GroupParts) -> None:
        super().__init__(group)
        self._idle = IdleWatch(group.num_ranks, group.clock())

    def begin(self) -> None:
        self.group.show(GroupState.READY)

    def tick(self, now: float) -> None:
        rank = self._idle.silent_rank(self.group.ranks, now)
        if rank is not None:
            self.group.lose(f"idle rank {rank} showed no sign of life", None)

    def message(self, rank: int, message: FromRank) -> None:
        if isinstance(message, Pong):
            self._idle.answered(rank, self.group.clock())
        else:
            super().message(rank, message)

    def died(self, rank: int, death: ExitInfo) -> None:
        """A death so soon after the setup that it belongs to that holds the next one back."""
        group = self.group
        log.error("rank died", group=group.index, rank=rank, how=death.how)
        if group.clock() - group.ready_at >= YOUNG:
            group.lose(f"rank {rank} {death.how}", None)
            return
        how = f"rank {rank} {death.how} after setup"
        group.show(GroupState.RECOVERING)
        group.end_ranks(failure=SetupFailure.of(rank, how, death.own_fault, death.from_outside))

    def rebuild(self, cause: str) -> None:
        self.group.lose(cause, None)

    def stop(self) -> None:
        self.group.leave()
