"""The queued jobs in memory: in their order, whatever the order in which they are heard of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from para_attn_server.core.job import Job, JobStatus, NewJob
from para_attn_server.pool.job_queue import READ_AT_ONCE, JobQueue, read_queued
from para_attn_server.pool.transitions import Transition
from para_attn_server.stores.memory import MemoryStore


def job(place: int, status: JobStatus = JobStatus.QUEUED, deadline: float | None = None) -> Job:
    return Job(f"j{place}", place, status, None, "/a.png", 1.0, deadline=deadline)


@given(st.lists(st.tuples(st.sampled_from(list(JobStatus)), st.integers(1, 9))))
def test_it_holds_what_was_queued_last_in_the_order_of_the_queue(news: list[tuple[JobStatus, int]]) -> None:
    queue, queued = JobQueue(), set()
    for status, place in news:
        queue.observe(Transition(job(place, status)))
        queued = queued | {place} if status is JobStatus.QUEUED else queued - {place}
    assert [one.seq for one in queue.waiting(0.0)] == sorted(queued)
    assert [one.seq for one in queue.waiting(0.0, 2)] == sorted(queued)[:2]
    assert len(queue) == len(queued) and all(f"j{place}" in queue for place in queued)


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from([None, 1.0, 2.0, 3.0])), unique_by=lambda one: one[0]))
def test_a_job_whose_deadline_has_passed_waits_no_more_and_is_overdue(jobs: list[tuple[int, float | None]]) -> None:
    queue = JobQueue()
    for place, deadline in jobs:
        queue.add(job(place, deadline=deadline))
    for now in (0.5, 1.0, 2.5, 3.0):
        late = {place for place, deadline in jobs if deadline is not None and deadline <= now}
        assert [one.seq for one in queue.waiting(now)] == sorted({place for place, _ in jobs} - late)
        assert queue.any_overdue(now) is bool(late)
        for place in late:
            queue.remove(f"j{place}")
        assert not queue.any_overdue(now)
        jobs = [one for one in jobs if one[0] not in late]


def test_a_look_reads_what_is_behind_the_last_one_and_not_all_of_very_many_at_once() -> None:
    store, queue = MemoryStore(), JobQueue()
    jobs = [store.insert(NewJob({}, "/a.png", deadline=1.0), 10_000, 1.0) for _ in range(READ_AT_ONCE + 3)]
    queue.add(jobs[-1])  # of which a web worker has spoken
    queue.found(read_queued(store, queue.seen))
    assert queue.seen == jobs[READ_AT_ONCE - 1].seq and len(queue) == READ_AT_ONCE + 1
    queue.found(read_queued(store, queue.seen))
    assert len(queue) == len(jobs) and queue.waiting(0.0) == jobs
    assert read_queued(store, queue.seen) == []
