"""One launch on this machine: the ranks that are started together, their step board, and who hears of them."""

from __future__ import annotations

from para_attn_server.core.wire.launch import RankSpec
from para_attn_server.core.wire.ranks import FromRank
from para_attn_server.core.wire.step_board import Progress, StepBoard
from para_attn_server.executors.base import ExitInfo, RankEvents, RankHandle


class BoardSteps:
    """The step channel of ranks on this machine: it reads their board. Once it is closed, it says what it said last."""

    def __init__(self, num_ranks: int) -> None:
        self._board: StepBoard | None = StepBoard.create(num_ranks)
        self._last: list[Progress] = []
        self.fd = self._board.fd

    def progress(self, rank: int) -> Progress:
        return self._last[rank] if self._board is None else self._board.progress(rank)

    def close(self) -> None:
        """Let go of the board: no rank writes to it any more."""
        if self._board is not None:
            self._last = [self._board.progress(rank) for rank in range(self._board.num_ranks)]
            self._board.close()
            self._board = None


class LocalLaunch:
    """What belongs to one launch, from its order to the death of its last rank. Raises OSError for want of a board."""

    def __init__(self, generation: int, specs: list[RankSpec], events: RankEvents) -> None:
        self.generation, self.specs, self._events = generation, specs, events
        self.group = specs[0].of.group
        self.steps = BoardSteps(len(specs))
        self._alive = len(specs)

    def launched(self, handles: list[RankHandle]) -> None:
        """All ranks have been started."""
        self._events.launched(self.generation, handles, self.steps)

    def failed(self, reason: str, own_fault: bool, from_outside: bool) -> None:
        """None of them is left."""
        self._events.launch_failed(self.generation, reason, own_fault, from_outside)
        self.steps.close()

    def message(self, rank: int, message: FromRank) -> None:
        """A rank has said something."""
        self._events.message(self.generation, rank, message)

    def died(self, rank: int, death: ExitInfo) -> None:
        """A rank has ended."""
        self._alive -= 1
        try:
            self._events.died(self.generation, rank, death)
        finally:
            if not self._alive:
                self.steps.close()
