"""What predictors emit, as the controller keeps it: numbered per run, whole, and only as long as the run lasts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from para_attn_server.core.emitted import LARGEST_BINARY
from para_attn_server.core.job import Job, JobStatus
from para_attn_server.core.wire.control import LiveEvent, LiveMark, RowsWritten, decode
from para_attn_server.core.wire.ranks import Emit
from para_attn_server.pool.live_events import LiveEvents
from para_attn_server.pool.transitions import Transition

JOB = Job("a", 1, JobStatus.RUNNING, None, "/out/a.png", 1.0, controller="c", run=2)


class Kept(LiveEvents):
    """Live events of job a, and what was heard of them."""

    def __init__(self) -> None:
        super().__init__(lambda: 12.5)
        self.said: list[LiveMark | RowsWritten | None] = []
        self.heard = lambda _, message: self.said.append(message)

    def turns(self, status: JobStatus, run: int = 2) -> None:
        self.observe(Transition(replace(JOB, status=status, run=run)))

    def emit(self, data: bytes, more: bool = False, dropped: int = 0, binary: bool = False) -> None:
        self.emitted("a", Emit(1, "k", data, binary, more, dropped))

    def kept(self) -> list[tuple[int, int, str]]:
        events = [decode(entry.value.rstrip()) for entry in self.ring("a").after(0)]
        assert all(isinstance(event, LiveEvent) and event.at == 12.5 for event in events)
        return [(event.run, event.number, event.data) for event in events if isinstance(event, LiveEvent)]


@pytest.fixture
def live() -> Kept:
    return Kept()


def test_events_are_numbered_in_their_run_and_end_with_it(live: Kept) -> None:
    live.emit(b"0")
    live.turns(JobStatus.RUNNING)
    live.emit(b"1")
    live.emit(b"2", dropped=3)
    assert live.kept() == [(2, 1, "1"), (2, 5, "2")], "what was dropped has numbers too"
    live.turns(JobStatus.QUEUED)
    assert live.kept() == [] and live.mark("a") == LiveMark("a", 0, 0)
    live.emit(b"late")
    live.turns(JobStatus.RUNNING, run=3)
    live.emit(b"3")
    assert live.kept() == [(3, 1, "3")]
    live.turns(JobStatus.SUCCEEDED, run=3)
    over = [LiveMark("a", 2, 0), None, None, LiveMark("a", 2, 5, over=True)]
    assert live.said == [*over, LiveMark("a", 3, 0), None, LiveMark("a", 3, 1, over=True)]


def test_an_event_comes_when_its_last_piece_has(live: Kept) -> None:
    live.turns(JobStatus.RUNNING)
    live.emit(b"\xff\xd8", more=True, dropped=1, binary=True)
    assert live.kept() == []
    live.emit(b"\xff", binary=True)
    assert live.kept() == [(2, 2, "/9j/")]
    live.emit(b"half", more=True)
    live.turns(JobStatus.QUEUED)
    live.turns(JobStatus.RUNNING, run=3)
    live.emit(b"1")
    assert live.kept() == [(3, 1, "1")]


def test_a_rank_cannot_fill_the_memory_with_an_event_without_end(live: Kept) -> None:
    live.turns(JobStatus.RUNNING)
    for _ in range(40):
        live.emit(bytes(LARGEST_BINARY // 4), more=True)
    assert sum(map(len, live._parts["a"].pieces)) <= 2 * LARGEST_BINARY
