"""Between jobs: all ranks are ready, and are asked now and then whether they still live.

Results of earlier runs may still be written. Where they leave no room for another one, the group counts as busy.
"""

from __future__ import annotations

from dataclasses import replace

import structlog

from para_attn_server.core.errors import JobError
from para_attn_server.core.wire.ranks import FromRank, Pong
from para_attn_server.executors.base import ExitInfo
from para_attn_server.pool.backoff import SetupFailure
from para_attn_server.pool.idle import IdleWatch
from para_attn_server.pool.listener import GroupState
from para_attn_server.pool.phases.phase import GroupParts, Phase
from para_attn_server.pool.run import WRITING_LOST, Lost

log = structlog.get_logger()

YOUNG = 60.0
"""Seconds after its setup in which the death of an idle rank counts as a failed setup."""


class Waiting(Phase):
    """The group waits for a job, for as long as it takes. damage: why it must be rebuilt before it can take one."""

    def __init__(self, group: GroupParts, damage: str | None) -> None:
        super().__init__(group)
        self._damage = damage
        self._idle = IdleWatch(group.num_ranks, group.clock())

    def begin(self) -> None:
        self.group.show(GroupState.READY if self._is_free else GroupState.BUSY)

    @property
    def _is_free(self) -> bool:
        return self._damage is None and self.group.writings.room

    def let_go(self) -> None:
        group = self.group
        if self._damage is not None and not group.writings.live:
            group.lose(self._damage, None)
        elif self._is_free and group.state is GroupState.BUSY:
            group.show(GroupState.READY)
            group.outbox.post(group.listener.group_free, group.index)

    def tick(self, now: float) -> None:
        rank = self._idle.silent_rank(self.group.ranks, now)
        if rank is not None:
            self._lose(f"idle rank {rank} showed no sign of life", rank)
        elif self.group.writings.stuck(now):
            self.group.lose("what writes outputs does not stop", None)

    def message(self, rank: int, message: FromRank) -> None:
        if isinstance(message, Pong):
            self._idle.answered(rank, self.group.clock())
        else:
            super().message(rank, message)

    def died(self, rank: int, death: ExitInfo) -> None:
        """A death so soon after the setup that it belongs to that holds the next one back."""
        group = self.group
        log.error("rank died", group=group.index, rank=rank, how=death.how)
        if group.writings.live or group.clock() - group.ready_at >= YOUNG:
            self._lose(f"rank {rank} {death.how}", rank, death)
            return
        how = f"rank {rank} {death.how} after setup"
        group.show(GroupState.RECOVERING)
        group.end_ranks(failure=SetupFailure.of(rank, how, death.own_fault, death.from_outside))

    def rebuild(self, cause: str) -> None:
        self.group.lose(cause, WRITING_LOST if self.group.writings.live else None)

    def _lose(self, cause: str, rank: int, death: ExitInfo | None = None) -> None:
        """What is written is what the group did, so it is charged."""
        lost = Lost(JobError("rank_lost", f"{cause} while the output was written", rank))
        if death is not None:
            error = replace(lost.error, hint=death.hint)
            lost = Lost(error, death.own_fault, death.from_outside)
        self.group.lose(cause, lost if self.group.writings.live else None)

    def stop(self) -> None:
        self.group.leave()
