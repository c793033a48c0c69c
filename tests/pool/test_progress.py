"""Steps are written now and then, the latest one, and the last one with the end of its job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from loops import Loop

from para_attn_server.core.job import NewJob
from para_attn_server.pool.progress import PROGRESS_EVERY, ProgressWriter
from para_attn_server.pool.write_queue import WriteQueue
from para_attn_server.stores.memory import MemoryStore


class Stage:
    """A writer, a running job, and what is to be done soon."""

    def __init__(self, loop: Loop, store: MemoryStore) -> None:
        self.loop, self.store, self.now = loop, store, 100.0
        self.soon: list[Callable[[], None]] = []
        self.progress = ProgressWriter(WriteQueue(loop.store), self.soon.append, lambda: self.now)
        self.job = store.insert(NewJob({}, "/a.png"), 10, 1.0).id
        self.run = store.start(self.job, 0, 2.0).run_id
        self.progress.started(self.job)

    def steps(self, *steps: int, seconds: float = 1.1 * PROGRESS_EVERY) -> None:
        """Done one after the other."""
        for step in steps:
            self.now += seconds
            self.progress.stepped(self.job, self.run, step, 9)

    def written(self) -> list[int]:
        """A moment later."""
        for call in self.soon:
            call()
        self.soon.clear()
        self.loop.settle()
        return [event.data["step"] for event in self.store.events(self.job) if event.type == "step"]


@pytest.fixture
def stage() -> Iterator[Stage]:
    store = MemoryStore()
    with closing(Loop(store)) as loop:
        yield Stage(loop, store)


def test_quick_steps_are_written_now_and_then(stage: Stage) -> None:
    for step in range(1, 10):
        stage.steps(step, seconds=PROGRESS_EVERY / 2.5)
        stage.written()
    assert stage.written() == [3, 6, 9]


def test_of_steps_that_come_before_the_write_the_latest_counts(stage: Stage) -> None:
    stage.steps(1, 2, 3)
    assert len(stage.soon) == 1 and stage.written() == [3]
    stage.steps(4)
    assert stage.written() == [3, 4]


def test_the_last_step_is_left_to_the_end_of_the_job(stage: Stage) -> None:
    stage.steps(8)
    assert stage.written() == [8]
    stage.steps(9)
    stage.progress.over(stage.job)
    assert stage.written() == [8]
