"""From the order to start ranks until all of them are ready: a launch, then setup() on each."""

from __future__ import annotations

import structlog

from para_attn_server.core.wire.ranks import FromRank, Ready, SetupError
from para_attn_server.executors.base import ExitInfo, RankHandle, StepChannel
from para_attn_server.pool.backoff import SetupFailure
from para_attn_server.pool.phases.phase import GroupParts, Phase

log = structlog.get_logger()

STOPPED_FOR, LOOK_EVERY = 8.0, 1.0
"""Seconds for which a rank may be stopped, and between two looks: a setup has no other sign of life."""


class Launching(Phase):
    """Ranks are being started, then set up. Both together may take the setup timeout."""

    def __init__(self, group: GroupParts) -> None:
        super().__init__(group)
        self.deadline = group.launched_at + group.timeouts.setup
        self._started = False
        self._looked_at = self._moved_at = group.launched_at

    def tick(self, now: float) -> None:
        super().tick(now)
        group = self.group
        if not self._started or self.deadline is None or now - self._looked_at < LOOK_EVERY:
            return
        self._looked_at, rank = now, group.ranks.stopped
        if rank is None:
            self._moved_at = now
        elif now - self._moved_at > STOPPED_FOR:
            log.error("a rank is stopped in its setup; killing its group", group=group.index, rank=rank)
            failure = SetupFailure.of(rank, f"rank {rank} was stopped during setup", False, from_outside=True)
            group.end_ranks(failure=failure)

    def launched(self, handles: list[RankHandle], steps: StepChannel) -> None:
        self._started = True
        self.group.ranks.adopt(handles, steps)
        self.group.changed()

    def launch_failed(self, failure: SetupFailure) -> None:
        self.group.end_ranks(failure=failure)

    def message(self, rank: int, message: FromRank) -> None:
        match message:
            case Ready():
                self._on_ready(rank, message)
            case SetupError():
                self.group.end_ranks(failure=SetupFailure(message))

    def died(self, rank: int, death: ExitInfo) -> None:
        log.error("rank died", group=self.group.index, rank=rank, how=death.how)
        how = f"rank {rank} {death.how} during setup"
        self.group.changed()
        self.group.end_ranks(failure=SetupFailure.of(rank, how, death.own_fault, death.from_outside))

    def overdue(self) -> None:
        group, launching = self.group, not self._started
        late = f"not done within {group.timeouts.setup:g} s"
        group.end_ranks(failure=SetupFailure.of(group.ranks.slowest, late), launching=launching)
        if launching:
            group.executor.abort_launch()

    def rebuild(self, cause: str) -> None:
        self.stop()

    def stop(self) -> None:
        launching = not self._started
        self.group.end_ranks(launching=launching)
        if launching:  # a cold import may take minutes
            self.group.executor.abort_launch()

    def _on_ready(self, rank: int, ready: Ready) -> None:
        group = self.group
        group.ranks.slots[rank].ready = ready
        first = group.ranks.slots[0].ready
        if first is None or not group.ranks.all_ready:
            return
        group.ready_at, group.cause = group.clock(), ""
        group.wait_for_job()
        group.outbox.post(group.listener.group_ready, group.index, first)
