"""What every JobStore must do: the queue, the guarded transitions, the history, documents, removal.

The rest of the contract is in test_store_writes.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from runs import run_of

from para_attn_server.core.errors import IllegalTransition, JobError, JobNotFound, QueueFull
from para_attn_server.core.job import TRANSITIONS, Job, JobStatus, NewJob, Output, Result
from para_attn_server.stores.base import JobStore, LogRow, LogWrite, QueueCounts

KWARGS = {"prompt": 'ein "Kreis" ☉ \ud800', "steps": 20, "seed": 2**63, "scale": 3.5, "flag": None, "size": [64, 128]}
OUTPUT = Output("/out/a.png", "image/png", 1234, "ab" * 32)
RESULT = Result((OUTPUT,))
ERROR = JobError("exception", "ValueError: no", rank=1, step=3, hint="try another")

ACTIONS: dict[JobStatus, Callable[[JobStore, str, float], Job]] = {
    JobStatus.QUEUED: lambda store, job_id, now: store.requeue(
        job_id, "rank lost", True, now, run=run_of(store, job_id)
    ),
    JobStatus.RUNNING: lambda store, job_id, now: store.start(job_id, 0, now),
    JobStatus.SUCCEEDED: lambda store, job_id, now: store.succeed(job_id, RESULT, now, run=run_of(store, job_id)),
    JobStatus.FAILED: lambda store, job_id, now: store.fail(job_id, ERROR, now, run=run_of(store, job_id)),
    JobStatus.CANCELED: lambda store, job_id, now: store.cancel(job_id, now, run=run_of(store, job_id)),
}
EVENTS = {
    JobStatus.QUEUED: ("requeued", {"cause": "rank lost", "charged": True}),
    JobStatus.RUNNING: ("started", {"group": 0, "attempt": 1, "run": 1}),
    JobStatus.SUCCEEDED: ("succeeded", {"media_type": "image/png", "size": 1234, "sha256": "ab" * 32}),
    JobStatus.FAILED: ("failed", {"error": ERROR.as_dict()}),
    JobStatus.CANCELED: ("canceled", {}),
}
LEGAL = [(source, target) for source in JobStatus for target in sorted(TRANSITIONS[source])]
ILLEGAL = [(source, target) for source in JobStatus for target in JobStatus if target not in TRANSITIONS[source]]
FURTHER: dict[str, Callable[[JobStore, str], Any]] = {
    "request_cancel": lambda store, job_id: store.request_cancel(job_id, 9.0, run=run_of(store, job_id)),
    "progress": lambda store, job_id: store.progress(job_id, 1, 2, 9.0, run=run_of(store, job_id)),
}


def add(store: JobStore, now: float = 1.0, **kwargs: Any) -> Job:
    return store.insert(NewJob(kwargs, "/out/a.png", seed=kwargs.get("seed")), 1000, now)


def bring(store: JobStore, target: JobStatus) -> Job:
    """A job that has gone the shortest way to that status."""
    ways = {JobStatus.QUEUED: []}
    for source in ways.copy() | dict.fromkeys(JobStatus):
        for following in TRANSITIONS[source]:
            ways.setdefault(following, [*ways[source], following])
    job = add(store)
    for status in ways[target]:
        job = ACTIONS[status](store, job.id, 2.0)
    return job


def present(store: JobStore, job: Job) -> Job:
    found = store.get(job.id)
    assert found is not None
    return found


# --- the queue ---


def test_an_inserted_job_reads_back_as_it_was_given(store: JobStore) -> None:
    job = store.insert(NewJob(KWARGS, "/out/ü.png", seed=KWARGS["seed"]), 10, 12.5)
    assert job == Job(job.id, job.seq, JobStatus.QUEUED, 2**63, "/out/ü.png", 12.5)
    assert store.get(job.id) == job
    assert store.arguments(job.id) == KWARGS
    assert [(event.type, event.at, event.job_id) for event in store.events(job.id)] == [("queued", 12.5, job.id)]


def test_an_unknown_job_is_none(store: JobStore) -> None:
    assert store.get("nobody") is None
    with pytest.raises(JobNotFound):
        store.arguments("nobody")
    assert store.events("nobody") == []


def test_the_queue_is_first_in_first_out(store: JobStore) -> None:
    jobs = [add(store, now=now) for now in (5.0, 3.0, 4.0)]
    assert store.queued(10) == jobs
    assert store.queued(2) == jobs[:2]
    assert store.queued(10, after=jobs[0].seq) == jobs[1:] and store.queued(10, after=jobs[-1].seq) == []


def test_a_full_queue_refuses_and_writes_nothing(store: JobStore) -> None:
    first = store.insert(NewJob({}, "/out/a.png"), 1, 1.0)
    refused = NewJob({}, "/out/b.png")
    with pytest.raises(QueueFull) as caught:
        store.insert(refused, 1, 2.0)
    assert caught.value.limit == 1
    assert store.get(refused.id) is None and store.events(refused.id) == []
    store.start(first.id, 0, 3.0)
    assert store.insert(refused, 1, 4.0).id == refused.id


def test_counts_are_by_status(store: JobStore) -> None:
    assert store.counts() == QueueCounts(0, 0, 0, 0, 0)
    for number, status in enumerate(JobStatus, start=1):
        for _ in range(number):
            bring(store, status)
    assert store.counts() == QueueCounts(queued=1, running=2, succeeded=3, failed=4, canceled=5)


def test_running_lists_the_longest_running_first(store: JobStore) -> None:
    first, second, _ = (add(store) for _ in range(3))
    store.start(second.id, 1, 2.0)
    store.start(first.id, 0, 3.0)
    assert [(job.id, job.group) for job in store.running()] == [(second.id, 1), (first.id, 0)]


def test_a_requeued_job_keeps_its_place(store: JobStore) -> None:
    first, second = add(store), add(store)
    store.start(first.id, 0, 2.0)
    store.requeue(first.id, "rank lost", True, 3.0, run=run_of(store, first.id))
    assert [job.id for job in store.queued(10)] == [first.id, second.id]


# --- transitions ---


@pytest.mark.parametrize(("source", "target"), LEGAL)
def test_a_legal_transition_changes_the_status_and_tells_it(
    store: JobStore, source: JobStatus, target: JobStatus
) -> None:
    job = bring(store, source)
    before = store.events(job.id)
    changed = ACTIONS[target](store, job.id, 7.0)
    assert changed.status is target and present(store, job) == changed
    (event,) = store.events(job.id, after=before[-1].id)
    assert (event.type, event.data, event.at) == (*EVENTS[target], 7.0)


@pytest.mark.parametrize(("source", "target"), ILLEGAL)
def test_an_illegal_transition_is_refused_and_leaves_no_trace(
    store: JobStore, source: JobStatus, target: JobStatus
) -> None:
    job = bring(store, source)
    before = store.events(job.id)
    with pytest.raises(IllegalTransition, match=f"{job.id} is {source}"):
        ACTIONS[target](store, job.id, 7.0)
    assert present(store, job) == job
    assert store.events(job.id) == before


@pytest.mark.parametrize("target", JobStatus)
def test_a_transition_of_an_unknown_job_is_job_not_found(store: JobStore, target: JobStatus) -> None:
    with pytest.raises(JobNotFound, match="nobody"):
        ACTIONS[target](store, "nobody", 1.0)


def test_start_counts_an_attempt_and_begins_at_step_zero(store: JobStore) -> None:
    job = add(store)
    started = store.start(job.id, 3, 2.0)
    assert started == replace(job, status=JobStatus.RUNNING, group=3, attempts=1, run=1, started_at=2.0)
    store.progress(job.id, 4, 20, 2.5, run=run_of(store, job.id))
    store.requeue(job.id, "rank lost", True, 3.0, run=run_of(store, job.id))
    again = store.start(job.id, 1, 4.0)
    assert again == replace(job, status=JobStatus.RUNNING, group=1, attempts=2, run=2, started_at=4.0)


def test_success_carries_the_output_and_the_last_step(store: JobStore) -> None:
    job = bring(store, JobStatus.RUNNING)
    store.progress(job.id, 18, 20, 3.0, run=run_of(store, job.id))
    done = store.succeed(job.id, RESULT, 4.0, run=run_of(store, job.id))
    assert (done.output, done.step, done.total_steps, done.finished_at) == (OUTPUT, 20, 20, 4.0)


def test_success_without_a_known_total_keeps_the_step(store: JobStore) -> None:
    job = bring(store, JobStatus.RUNNING)
    store.progress(job.id, 18, None, 3.0, run=run_of(store, job.id))
    done = store.succeed(job.id, RESULT, 4.0, run=run_of(store, job.id))
    assert (done.step, done.total_steps) == (18, None)


def test_a_failure_carries_its_error(store: JobStore) -> None:
    job = bring(store, JobStatus.RUNNING)
    assert store.fail(job.id, ERROR, 4.0, run=run_of(store, job.id)).error == ERROR
    bare = bring(store, JobStatus.QUEUED)
    assert store.fail(bare.id, JobError("expired", "too late"), 4.0).error == JobError("expired", "too late")


@pytest.mark.parametrize(("charge", "attempts"), [(True, 1), (False, 0)])
def test_requeue_charges_the_attempt_or_takes_it_back(store: JobStore, charge: bool, attempts: int) -> None:
    job = add(store)
    store.start(job.id, 0, 2.0)
    store.request_cancel(job.id, 2.5, run=run_of(store, job.id))
    back = store.requeue(job.id, "restart", charge, 3.0, run=run_of(store, job.id))
    assert back == replace(job, attempts=attempts, run=1, cancel_requested=True)
    assert store.events(job.id)[-1].data == {"cause": "restart", "charged": charge}


# --- further writes ---


def test_a_cancel_request_is_remembered_once(store: JobStore) -> None:
    job = bring(store, JobStatus.RUNNING)
    asked = store.request_cancel(job.id, 3.0, run=run_of(store, job.id))
    assert asked == replace(job, cancel_requested=True) == store.request_cancel(job.id, 4.0, run=run_of(store, job.id))
    assert [event.at for event in store.events(job.id) if event.type == "cancel_requested"] == [3.0]


@pytest.mark.parametrize("write", FURTHER)
@pytest.mark.parametrize("source", [status for status in JobStatus if status is not JobStatus.RUNNING])
def test_only_a_running_job_makes_steps_or_is_asked_to_leave(store: JobStore, source: JobStatus, write: str) -> None:
    job = bring(store, source)
    before = store.events(job.id)
    with pytest.raises(IllegalTransition, match=str(source)):
        FURTHER[write](store, job.id)
    assert present(store, job) == job and store.events(job.id) == before


@pytest.mark.parametrize("write", FURTHER)
def test_writes_about_an_unknown_job_are_job_not_found(store: JobStore, write: str) -> None:
    with pytest.raises(JobNotFound, match="nobody"):
        FURTHER[write](store, "nobody")


def test_progress_writes_the_step_and_an_event(store: JobStore) -> None:
    job = bring(store, JobStatus.RUNNING)
    store.progress(job.id, 3, 20, 3.0, run=run_of(store, job.id))
    assert (present(store, job).step, present(store, job).total_steps) == (3, 20)
    event = store.events(job.id)[-1]
    assert (event.type, event.at, event.data) == ("step", 3.0, {"step": 3, "total_steps": 20})


def test_log_rows_are_events_in_order_read_behind_a_cursor(store: JobStore) -> None:
    job, other = add(store), add(store)
    lines = [(job.id, "one"), (other.id, "else"), (job.id, "two \N{BLACK STAR}\n"), ("nobody", "x")]
    ids = store.log(LogWrite([LogRow(of, "log", 2.0, {"text": text}) for of, text in lines]))
    store.start(job.id, 0, 3.0)
    (last,) = store.log(LogWrite([LogRow(job.id, "traceback", 4.0, {"rank": 0, "text": "why"})]))
    rows = store.log_rows(job.id, 0, 10)
    assert [(row.id, row.type, row.at) for row in rows] == [
        (ids[0], "log", 2.0),
        (ids[2], "log", 2.0),
        (last, "traceback", 4.0),
    ]
    assert [row.data["text"] for row in rows] == ["one", "two ★\n", "why"] and ids[3] == 0
    assert store.log_rows(job.id, ids[0], 1) == rows[1:2] and store.log_rows(job.id, last, 10) == []


def test_news_are_all_events_but_steps_read_behind_a_cursor(store: JobStore) -> None:
    job, _ = bring(store, JobStatus.RUNNING), bring(store, JobStatus.RUNNING)
    store.progress(job.id, 3, 20, 3.0, run=run_of(store, job.id))
    (log,) = store.log(LogWrite([LogRow(job.id, "log", 4.0, {"text": "one"})]))
    store.progress(job.id, 4, 20, 5.0, run=run_of(store, job.id))
    store.cancel(job.id, 6.0, run=run_of(store, job.id))
    news = store.news(job.id, 0, 10)
    assert [(row.type, row.at) for row in news][2:] == [("log", 4.0), ("canceled", 6.0)]
    assert [row.type for row in news][:2] == ["queued", "started"] and news[2].id == log
    assert store.news(job.id, news[1].id, 1) == news[2:3]
    assert store.news(job.id, news[-1].id, 10) == store.news("nobody", 0, 10) == []


def test_log_rows_are_taken_out_and_counted(store: JobStore) -> None:
    job = add(store)
    ids = store.log(LogWrite([LogRow(job.id, "log", 2.0, {"text": str(number)}) for number in range(5)]))
    assert store.log(LogWrite([], ids[2:4], {ids[1]: 3})) == []
    rows = [row.data for row in store.log_rows(job.id, 0, 10)]
    assert rows == [{"text": "0"}, {"left_out": 3}, {"text": "4"}]


def test_events_after_an_id_are_the_later_ones(store: JobStore) -> None:
    job, other = bring(store, JobStatus.RUNNING), bring(store, JobStatus.SUCCEEDED)
    everything = store.events(job.id)
    assert {event.job_id for event in everything} == {job.id} != {other.id}
    assert store.events(job.id, after=everything[0].id) == everything[1:]
    assert store.events(job.id, after=everything[-1].id) == []


# --- figures, removal, documents ---


def test_mean_seconds_is_over_the_last_successes(store: JobStore) -> None:
    assert store.mean_seconds() is None
    for started, seconds in ((10.0, 100.0), (200.0, 4.0), (300.0, 6.0)):
        job = add(store)
        store.start(job.id, 0, started)
        store.succeed(job.id, RESULT, started + seconds, run=run_of(store, job.id))
    failed = bring(store, JobStatus.RUNNING)
    store.fail(failed.id, ERROR, 9000.0, run=run_of(store, failed.id))
    assert store.mean_seconds(last=2) == pytest.approx(5.0)
    assert store.mean_seconds() == pytest.approx(110 / 3)


def test_ended_before_lists_ended_jobs_only(store: JobStore) -> None:
    jobs = [bring(store, status) for status in JobStatus]
    late = add(store)
    store.cancel(late.id, 50.0)
    ended = {job.id: job.outputs for job in jobs if job.status.terminal}
    assert (OUTPUT,) in ended.values()
    assert store.ended_before(50.0, 9) == ended
    assert store.ended_before(50.1, 9) == {**ended, late.id: ()}
    assert len(store.ended_before(50.1, 2)) == 2 and late.id not in store.ended_before(50.1, 2)


def test_a_job_must_have_ended_before_the_moment_by_both_clocks(open_store: Callable[..., JobStore]) -> None:
    store = open_store(steady=lambda: 7.0)  # so it has ended there, whatever the callers say
    job = bring(store, JobStatus.CANCELED)
    assert store.ended_before(3.0, 9, steady=7.0) == {}
    assert store.ended_before(2.0, 9, steady=7.1) == {}
    assert store.ended_before(3.0, 9, steady=7.1) == {job.id: ()}


def test_durations_are_by_the_steady_clock_and_never_negative(open_store: Callable[..., JobStore]) -> None:
    moments = iter([100.0, 103.0, 110.0])
    store = open_store(steady=lambda: next(moments))
    job = add(store, now=5000.0)
    assert present(store, store.start(job.id, 0, 4000.0)).queued_seconds == 3.0
    ended = store.succeed(job.id, RESULT, 20.0, run=run_of(store, job.id))  # the wall clock was put back twice
    assert (ended.created_at, ended.started_at, ended.finished_at) == (5000.0, 4000.0, 20.0)
    assert (ended.queued_seconds, ended.run_seconds, store.mean_seconds()) == (3.0, 7.0, 7.0)
    assert replace(ended, created_steady=104.0, finished_steady=0.0).queued_seconds == 0.0
    assert replace(ended, created_steady=104.0, finished_steady=0.0).run_seconds == 0.0


def test_deadlines_that_have_passed_are_ended_in_slices_the_first_first(store: JobStore) -> None:
    jobs = [store.insert(NewJob({}, "/out/a.png", deadline=ends), 10, 1.0) for ends in (30.0, 10.0, 20.0, 90.0)]
    running = store.insert(NewJob({}, "/out/a.png", deadline=5.0), 10, 1.0)
    store.start(running.id, 0, 2.0)
    endless = add(store)
    assert [job.id for job in store.queued(9, steady=30.0)] == [jobs[3].id, endless.id]
    first, second, third = (store.expire(ERROR, 30.0, 31.0, 2) for _ in range(3))
    assert {job.id for job in first} == {jobs[1].id, jobs[2].id}
    assert [job.id for job in second] == [jobs[0].id]
    assert third == []
    assert all(present(store, job) == job for job in first + second)
    ended = present(store, jobs[0])
    assert (ended.status, ended.error, ended.finished_at) == (JobStatus.FAILED, ERROR, 31.0)
    assert [(event.type, event.at) for event in store.events(ended.id)][1:] == [("failed", 31.0)]
    assert present(store, running).status is JobStatus.RUNNING


def test_counts_are_exact_whatever_has_happened(store: JobStore, open_store: Callable[..., JobStore]) -> None:
    chance = random.Random(3)
    for number in range(60):
        job = store.insert(NewJob({}, "/out/a.png", deadline=chance.choice([None, 5.0])), 100, 1.0)
        status = job.status
        for _ in range(chance.randrange(5)):
            targets = sorted(TRANSITIONS[status])
            if targets:
                status = chance.choice(targets)
                ACTIONS[status](store, job.id, 2.0)
        if number % 7 == 0:
            store.expire(ERROR, 9.0, 9.0, 3)
            store.delete(list(store.ended_before(9.9, 4)))
    ended = list(store.ended_before(99.0, 100))
    counts = store.counts()
    assert counts.succeeded + counts.failed + counts.canceled == len(ended)
    assert counts.queued == len(store.queued(100))
    assert counts.running == len(store.running())
    assert open_store().counts() == counts


def test_delete_removes_ended_jobs_with_their_events_and_no_others(store: JobStore) -> None:
    jobs = [bring(store, status) for status in JobStatus]
    store.delete([*(job.id for job in jobs), "nobody"])
    for job in jobs:
        kept = not job.status.terminal
        assert (store.get(job.id) == job) is kept
        assert bool(store.events(job.id)) is kept


def test_delete_takes_any_number_of_ids(store: JobStore) -> None:
    job = bring(store, JobStatus.CANCELED)
    store.delete([f"nobody-{number}" for number in range(1200)] + [job.id])
    store.delete([])
    assert store.get(job.id) is None


def test_a_number_in_the_queue_is_never_given_out_twice(store: JobStore) -> None:
    last = bring(store, JobStatus.CANCELED)
    store.delete([last.id])
    assert add(store).seq > last.seq


def test_documents_are_written_over_and_read_back(store: JobStore) -> None:
    assert store.document("schema") is None
    store.put_document("schema", {"a": [1, {"b": "ü"}]})
    store.put_document("versions", {"torch": "2"})
    store.put_document("schema", {"c": None})
    assert store.document("schema") == {"c": None}
    assert store.document("versions") == {"torch": "2"}


def test_a_closed_store_can_be_read_by_the_next(store: JobStore, open_store: Callable[[], JobStore]) -> None:
    job = bring(store, JobStatus.RUNNING)
    store.close()
    store.close()
    assert open_store().get(job.id) == job
