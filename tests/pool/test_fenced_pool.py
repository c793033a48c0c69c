"""Two controllers of one store: each writes about its own runs only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from loops import Loop
from runs import run_of

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import Job, JobStatus, NewJob
from para_attn_server.core.wire.control import CancelOrder
from para_attn_server.outputs.folder import OutputFolder
from para_attn_server.pool.listener import GroupState
from para_attn_server.pool.model_info import Identity, ModelInfoWriter
from para_attn_server.pool.pool import Pool
from para_attn_server.pool.run import Lost
from para_attn_server.stores.memory import MemoryStore

LOST = Lost(JobError("rank_lost", "rank 1 was killed"))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def loop(store: MemoryStore) -> Iterator[Loop]:
    with closing(Loop(store)) as made:
        yield made


def new_pool(loop: Loop) -> Pool:
    """A pool with one ready group that takes what it gets."""
    outputs = OutputFolder(Path("/out"), allow_any=True, state_dir=Path("/out/state"))
    pool = Pool(
        loop.store,
        ModelInfoWriter([Identity("m", "m", "1")]),
        outputs,
        2,
        lambda _: None,
        lambda _: None,
        lambda _: None,
    )
    group: Any = SimpleNamespace(index=0, num_ranks=1, model="m", state=GroupState.READY, run=None, start=lambda: None)
    group.writings = SimpleNamespace(live=[])

    def assign(job: Job, arguments: dict[str, Any], request_id: str | None, alone: bool) -> None:
        group.state, group.run = GroupState.BUSY, SimpleNamespace(job_id=job.id, cancel_deadline=None, started=1.0)

    group.assign, group.stop_run = assign, lambda _: None
    pool.start([group])
    loop.settle()
    return pool


def taken_over(loop: Loop, store: MemoryStore) -> tuple[Pool, Pool, str]:
    """A pool that has started a job, and the pool of a later controller that has got it from the store since."""
    job = store.insert(NewJob({}, "/out/a.png"), 10, time.time())
    return new_pool(loop), new_pool(loop), job.id


def test_a_start_gives_back_the_jobs_of_a_former_controller_uncharged(loop: Loop, store: MemoryStore) -> None:
    former, later, job_id = taken_over(loop, store)
    job = store.get(job_id)
    assert job and (job.status, job.attempts, job.run) == (JobStatus.RUNNING, 1, 2)
    assert later._running[job_id].controller == job.controller != former._running[job_id].controller
    assert [event.type for event in store.events(job_id)] == ["queued", "started", "requeued", "started"]


REPORTS: dict[str, Callable[[Pool, str], object]] = {
    "step": lambda pool, job_id: pool.run_stepped(job_id, 1, 2),
    "failed": lambda pool, job_id: pool.run_ended(job_id, JobError("x", "x"), (1, 2)),
    "canceled": lambda pool, job_id: pool.run_ended(job_id, None, (1, 2)),
    "lost": lambda pool, job_id: pool.run_lost(job_id, LOST),
    "cancel": lambda pool, job_id: pool.cancel(CancelOrder("1", job_id), lambda _: None),
}


@pytest.mark.parametrize("report", REPORTS)
def test_what_a_former_controller_reports_of_its_run_changes_nothing(
    loop: Loop, store: MemoryStore, report: str
) -> None:
    former, later, job_id = taken_over(loop, store)
    job, before = store.get(job_id), store.events(job_id)
    former._progress._written_at.clear()  # a step is due to be written
    REPORTS[report](former, job_id)
    loop.settle()
    assert store.get(job_id) == job and store.events(job_id) == before
    assert run_of(store, job_id) is not None
    later.run_ended(job_id, JobError("x", "x"), (1, 2))
    loop.settle()
    ended = store.get(job_id)
    assert ended and (ended.status, ended.step) == (JobStatus.FAILED, 1)
