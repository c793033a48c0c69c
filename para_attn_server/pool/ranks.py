"""The ranks of one group as they are now: started or not, ready or not, alive or not. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from para_attn_server.core.wire.control import RankView
from para_attn_server.core.wire.ranks import Ready, ToRank
from para_attn_server.core.wire.step_board import Phase, Progress
from para_attn_server.executors.base import RankHandle, StepChannel
from para_attn_server.pool.watchdog import RankSnapshot

NOTHING_DONE = Progress(0, 0, Phase.IDLE, 0.0, 0, None)


@dataclass(slots=True)
class RankSlot:
    """One rank."""

    handle: RankHandle | None = None
    alive: bool = False
    ready: Ready | None = None


class Ranks:
    """All ranks of one launch."""

    def __init__(self, num_ranks: int) -> None:
        self.slots = [RankSlot() for _ in range(num_ranks)]
        self._steps: StepChannel | None = None

    def adopt(self, handles: Sequence[RankHandle], steps: StepChannel) -> None:
        """The ranks have been started. steps: what they report of their steps."""
        self._steps = steps
        for slot, handle in zip(self.slots, handles, strict=True):
            slot.handle, slot.alive = handle, True

    def send(self, rank: int, message: ToRank) -> None:
        """To one rank."""
        handle = self.slots[rank].handle
        if handle is not None:
            handle.send(message)

    def send_all(self, message: ToRank) -> None:
        """To every rank."""
        for rank in range(len(self.slots)):
            self.send(rank, message)

    def kill(self) -> None:
        """SIGKILL to all that live."""
        for handle in self._living():
            handle.kill()

    def request_stacks(self) -> None:
        """Ask all that live for their stacks."""
        for handle in self._living():
            handle.request_stacks()

    def progress(self, rank: int) -> Progress:
        """How far a rank has come."""
        return NOTHING_DONE if self._steps is None else self._steps.progress(rank)

    def sights(self) -> list[RankSnapshot]:
        """What is known of each rank, for the watchdog."""
        return [
            RankSnapshot(self.progress(rank), slot.handle.stopped(), slot.handle.stacks())
            for rank, slot in enumerate(self.slots)
            if slot.handle is not None
        ]

    @property
    def stopped(self) -> int | None:
        """The first rank whose process is stopped."""
        handles = ((rank, slot.handle) for rank, slot in enumerate(self.slots) if slot.alive)
        return next((rank for rank, handle in handles if handle is not None and handle.stopped()), None)

    @property
    def any_alive(self) -> bool:
        """True while a process is left."""
        return any(slot.alive for slot in self.slots)

    @property
    def all_ready(self) -> bool:
        """True when every rank is set up."""
        return all(slot.ready for slot in self.slots)

    @property
    def slowest(self) -> int:
        """The first rank that is not set up."""
        return next((rank for rank, slot in enumerate(self.slots) if slot.ready is None), 0)

    def views(self) -> list[RankView]:
        """The ranks as users see them."""
        return [
            RankView(
                rank,
                pid=slot.handle.pid if slot.handle and slot.alive else None,
                device=slot.ready.device if slot.ready else None,
            )
            for rank, slot in enumerate(self.slots)
        ]

    def _living(self) -> list[RankHandle]:
        return [slot.handle for slot in self.slots if slot.handle is not None and slot.alive]
