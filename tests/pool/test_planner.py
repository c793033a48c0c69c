"""What the plan is given, and what web workers hear of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from para_attn_server.core.job import Job, JobStatus, Priority
from para_attn_server.core.wire.control import QueueView, ToWeb
from para_attn_server.pool import planner as module
from para_attn_server.pool.job_queue import JobQueue
from para_attn_server.pool.listener import GroupState
from para_attn_server.pool.model_info import Identity, ModelInfoWriter
from para_attn_server.pool.planner import COSTS_DOCUMENT, PUBLISH_EVERY, SAVE_EVERY, Planner
from para_attn_server.pool.running_jobs import RunningJobs
from para_attn_server.pool.scheduler import plan
from para_attn_server.pool.transitions import Transition
from para_attn_server.stores.sql import SqlStore


class Bench:
    """A planner of one group of two ranks, its queue and what it has published; its clock is `now`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.group = SimpleNamespace(index=0, num_ranks=2, model="m", state=GroupState.READY)
        self.queue, self.running, self.published = JobQueue(), RunningJobs(), list[ToWeb]()
        groups: Any = [self.group]
        models = ModelInfoWriter([Identity("m", "m", "1")])
        self.planner = Planner(self.queue, self.running, lambda: groups, models, self.published.append)

    def queued(self, seq: int, **fields: Any) -> Job:
        """A job in the queue."""
        job = Job(str(seq), seq, JobStatus.QUEUED, None, "/o", 0.0, created_steady=self.now, shape="{}", **fields)
        self.queue.add(job)
        return job

    def start(self, job: Job) -> Job:
        """queued to running."""
        self.group.state = GroupState.BUSY
        return self._changed(job, status=JobStatus.RUNNING, group=0, started_steady=self.now)

    def end(self, job: Job, status: JobStatus = JobStatus.SUCCEEDED) -> Job:
        """running to something else."""
        self.group.state = GroupState.READY
        return self._changed(job, status=status, finished_steady=self.now)

    def _changed(self, job: Job, **fields: Any) -> Job:
        job = replace(job, **fields)
        self.queue.observe(Transition(job))
        self.planner.observe(Transition(job))
        self.running.observe(Transition(job))
        return job

    def run(self, seq: int, seconds: float) -> None:
        """A job, from queue to success."""
        job = self.start(self.queued(seq))
        self.now += seconds
        self.end(job)

    def tick(self) -> QueueView | None:
        """What is published at the next tick."""
        before = len(self.published)
        self.planner.tick(self.now)
        view = self.published[-1] if len(self.published) > before else None
        assert view is None or isinstance(view, QueueView)
        return view


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench()
    monkeypatch.setattr(module, "steady", lambda: made.now)
    yield made


def test_jobs_start_in_the_order_of_the_plan(bench: Bench) -> None:
    bench.queued(1)
    high = bench.queued(2, priority=Priority.HIGH)
    assert bench.planner.due([0]) == [(high, 0)]
    assert bench.planner.due([]) == []


def test_queued_jobs_past_their_deadline_are_stopped(bench: Bench) -> None:
    past = bench.queued(1, deadline=1005.0)
    jobs = [past, bench.queued(2)]
    assert not bench.queue.any_overdue(bench.now) and plan(bench.now, jobs, [], lambda *_: None) == []
    bench.now = 1005.0
    assert bench.queue.any_overdue(bench.now)
    assert [stop.job for stop in plan(bench.now, jobs, [], lambda *_: None)] == [past]


def test_the_order_is_published_with_its_ends(bench: Bench) -> None:
    bench.run(1, 10.0)
    running = bench.start(bench.queued(2))
    bench.queued(3)
    bench.queued(4, priority=Priority.HIGH)
    bench.now += 4.0
    view = bench.tick()
    assert view is not None
    assert view.jobs == ["4", "3"]
    assert view.ends == pytest.approx([bench.now + 16.0, bench.now + 26.0])
    assert view.next_start == pytest.approx(bench.now + 6.0)
    assert (view.running, view.shapes) == ({running.id: 10.0}, 1)


def test_what_runs_has_a_pace_of_its_own(bench: Bench) -> None:
    bench.run(1, 10.0)
    job = bench.start(bench.queued(2))
    bench.queued(3)
    bench.now += 4.0
    bench.planner.stepped(job.id, 2, 20)
    view = bench.tick()
    assert view is not None and view.next_start == pytest.approx(bench.now + 36.0)


def test_it_is_published_at_most_twice_a_second_and_only_when_it_has_changed(bench: Bench) -> None:
    bench.run(1, 100.0)
    bench.start(bench.queued(2))
    assert bench.tick() is not None
    bench.queued(3)
    bench.now += PUBLISH_EVERY / 2
    assert bench.tick() is None, "too soon"
    bench.now += PUBLISH_EVERY / 2
    assert bench.tick() is not None
    bench.now += 10 * PUBLISH_EVERY
    assert bench.tick() is None, "nothing has changed"


def test_the_end_of_all_jobs_is_published(bench: Bench) -> None:
    job = bench.start(bench.queued(1))
    bench.queued(2)
    assert bench.tick() is not None
    bench.end(job)
    bench.queue.remove("2")
    bench.now += PUBLISH_EVERY
    view = bench.tick()
    assert view is not None and (view.jobs, view.running) == ([], {})


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELED, JobStatus.QUEUED])
def test_only_success_teaches_what_a_job_costs(bench: Bench, status: JobStatus) -> None:
    bench.end(bench.start(bench.queued(1)), status)
    bench.queued(2)
    view = bench.tick()
    assert view is not None and (view.shapes, view.ends[0]) == (0, None)


def test_what_was_learned_is_saved_now_and_then_and_restored(bench: Bench, store: SqlStore) -> None:
    assert not bench.planner.unsaved(module.time.monotonic())
    bench.run(1, 10.0)
    assert bench.planner.unsaved(module.time.monotonic())
    bench.planner.save()(store)
    bench.run(2, 10.0)
    assert not bench.planner.unsaved(module.time.monotonic()), "too soon"
    bench.planner.not_saved(OSError())
    assert bench.planner.unsaved(module.time.monotonic() + SAVE_EVERY)
    other = Bench()
    other.now = bench.now
    other.planner.restore(store.document(COSTS_DOCUMENT))
    other.queued(3)
    view = other.tick()
    assert view is not None and view.ends == [bench.now + 10.0]


def test_a_job_of_a_model_that_is_not_there_waits_without_a_place_and_is_counted(bench: Bench) -> None:
    bench.queued(1, model="other")
    mine = bench.queued(2, model="m")
    assert bench.planner.due([0]) == [(mine, 0)]
    view = bench.tick()
    assert view is not None and (view.jobs, view.places) == (["2"], [0])
    assert (view.waiting, view.at_work) == ({"other": 1, "m": 1}, {})
    bench.start(mine)
    bench.now += PUBLISH_EVERY
    view = bench.tick()
    assert view is not None and (view.waiting, view.at_work) == ({"other": 1}, {"m": 1})
    bench.end(mine)
    bench.queue.remove("1")
    bench.now += PUBLISH_EVERY
    view = bench.tick()
    assert view is not None and (view.waiting, view.at_work) == ({}, {})


def test_a_job_that_is_only_written_holds_no_group_and_teaches_no_cost(bench: Bench) -> None:
    bench.run(1, 10.0)
    written = bench.start(bench.queued(2))
    bench.planner.stepped(written.id, 1, 2)
    bench.now += 10.0
    bench.planner.left(written.id)
    running = bench.start(bench.queued(3))
    bench.queued(4)
    bench.now += 4.0
    bench.end(written)
    bench.group.state = GroupState.BUSY
    view = bench.planner.view()
    assert view.running[running.id] == 10.0
    assert (view.next_start, view.ends) == (bench.now + 6.0, [bench.now + 16.0])
