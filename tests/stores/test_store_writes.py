"""What every JobStore must do, the rest: transactions, keys, several handles, threads; stored values are copies."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

import pytest
from runs import run_of

from para_attn_server.core.errors import (
    IdempotencyConflict,
    IllegalTransition,
    JobError,
    JobNotFound,
    QueueFull,
    StoreUnavailable,
)
from para_attn_server.core.job import ANONYMOUS, Job, NewJob, Output, Result
from para_attn_server.stores.base import JobStore, LogRow, LogWrite, QueueCounts

OUTPUT = Output("/out/a.png", "image/png", 1234, "ab" * 32)
RESULT = Result((OUTPUT,))
ERROR = JobError("exception", "ValueError: no")


def add(store: JobStore, now: float = 1.0) -> Job:
    return store.insert(NewJob({}, "/out/a.png"), 1000, now)


def add_running(store: JobStore) -> Job:
    return store.start(add(store).id, 0, 2.0)


def add_keyed(store: JobStore, key: str, digest: str, max_queued: int = 1000) -> Job:
    new = NewJob({}, "/out/a.png", idempotency_key=key, request_digest=digest)
    return store.insert(new, max_queued, 1.0)


# --- transactions ---


def test_the_writes_of_a_transaction_are_made_together_or_not_at_all(store: JobStore) -> None:
    ends, starts = add_running(store), add(store)
    before = store.events(ends.id)

    def follow() -> None:
        with store.transaction():
            store.succeed(ends.id, RESULT, 4.0, run=run_of(store, ends.id))
            store.start(starts.id, 0, 4.0)

    with pytest.raises(IllegalTransition), store.transaction():
        follow()
        store.start(starts.id, 0, 4.0)
    assert (store.get(ends.id), store.get(starts.id)) == (ends, starts)
    assert store.events(ends.id) == before
    follow()
    assert store.counts() == QueueCounts(queued=0, running=1, succeeded=1, failed=0, canceled=0)


def test_a_transaction_takes_back_every_kind_of_write(store: JobStore) -> None:
    queued, running = add(store), add_running(store)
    gone = store.cancel(add_keyed(store, "gone", "d").id, 3.0)
    late = store.insert(NewJob({}, "/out/a.png", deadline=5.0), 1000, 1.0)
    logged = store.log(LogWrite([LogRow(running.id, "log", 2.0, {"text": str(number)}) for number in range(3)]))
    store.put_document("schema", {"a": 1})
    jobs = (queued, running, gone, late)
    everything = [(store.get(job.id), store.events(job.id)) for job in jobs]
    new = NewJob({}, "/out/b.png", idempotency_key="new", request_digest="d")
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.progress(running.id, 3, 9, 4.0, run=run_of(store, running.id))
        store.request_cancel(running.id, 4.0, run=run_of(store, running.id))
        store.log(LogWrite([LogRow(running.id, "log", 4.0, {"text": "x"})], logged[:1], {logged[1]: 7}))
        store.requeue(running.id, "rank lost", True, 4.0, run=run_of(store, running.id))
        store.cancel(queued.id, 4.0, run=run_of(store, queued.id))
        assert [job.id for job in store.expire(ERROR, 6.0, 6.0, 9)] == [late.id]
        store.delete([gone.id])
        assert store.insert(new, 1000, 4.0).id == new.id
        store.put_document("schema", {"b": 2})
        store.put_document("versions", {})
        raise ZeroDivisionError
    assert [(store.get(job.id), store.events(job.id)) for job in jobs] == everything
    assert store.arguments(gone.id) == {} and store.by_key(ANONYMOUS, "gone", "d") == gone
    assert store.get(new.id) is None and store.by_key(ANONYMOUS, "new", "d") is None
    assert store.document("schema") == {"a": 1} and store.document("versions") is None
    assert store.counts() == QueueCounts(queued=2, running=1, succeeded=0, failed=0, canceled=1)
    assert store.queued(9) == [queued, late] and store.running() == [running]


def test_a_store_goes_on_after_a_transaction_that_failed(store: JobStore) -> None:
    with pytest.raises(JobNotFound), store.transaction():
        job = add(store)
        store.start("nobody", 0, 2.0)
    assert store.get(job.id) is None
    again = add(store)
    assert store.queued(9) == [again]


def test_another_handle_does_not_write_into_a_transaction(store: JobStore, open_store: Callable[[], JobStore]) -> None:
    other = open_store()
    with store.transaction():
        job = add(store)
        with pytest.raises(StoreUnavailable):
            add(other)
    assert other.queued(9) == [job]


# --- keys ---


def test_a_request_of_a_known_key_is_the_job_that_it_was(store: JobStore) -> None:
    first = add_keyed(store, "k", "d1")
    store.start(first.id, 0, 2.0)
    again = add_keyed(store, "k", "d1", max_queued=0)
    assert again == store.get(first.id) == store.by_key(ANONYMOUS, "k", "d1")
    assert len(store.events(first.id)) == 2 and store.by_key(ANONYMOUS, "other", "d1") is None


def test_a_known_key_of_another_request_is_a_conflict_that_writes_nothing(store: JobStore) -> None:
    first = add_keyed(store, "k", "d1")
    with pytest.raises(IdempotencyConflict, match=first.id):
        add_keyed(store, "k", "d2")
    with pytest.raises(IdempotencyConflict, match=first.id):
        store.by_key(ANONYMOUS, "k", "d2")
    assert store.counts().queued == 1


def test_a_key_belongs_to_its_owner(store: JobStore) -> None:
    owners = (ANONYMOUS, "ann", "ben")
    new = [NewJob({}, "/a", idempotency_key="k", request_digest=f"d-{owner}", owner=owner) for owner in owners]
    jobs = [store.insert(each, 1000, 1.0) for each in new]
    assert len({job.id for job in jobs}) == 3
    for owner, job in zip(owners, jobs, strict=True):
        assert store.by_key(owner, "k", f"d-{owner}") == job
    with pytest.raises(IdempotencyConflict):
        store.insert(replace(new[1], id="other", request_digest="d-ben"), 1000, 2.0)
    store.cancel(jobs[1].id, 2.0)
    store.delete([jobs[1].id])
    assert store.by_key("ann", "k", "d-ann") is None and store.by_key("ben", "k", "d-ben") == jobs[2]


def test_a_removed_job_gives_its_key_free(store: JobStore) -> None:
    first = add_keyed(store, "k", "d1")
    store.cancel(first.id, 2.0, run=run_of(store, first.id))
    store.delete([first.id])
    assert store.by_key(ANONYMOUS, "k", "d1") is None
    assert add_keyed(store, "k", "d2").id != first.id


# --- values ---


def test_what_is_stored_is_a_copy(store: JobStore) -> None:
    arguments, text, document = {"size": [64]}, {"text": "a"}, {"a": [1]}
    job = store.insert(NewJob(arguments, "/out/a.png"), 1000, 1.0)
    store.log(LogWrite([LogRow(job.id, "log", 2.0, text)]))
    store.put_document("schema", document)
    for value in (arguments["size"], store.arguments(job.id)["size"], document["a"]):
        value.append(2)
    for data in (text, store.log_rows(job.id, 0, 9)[0].data, store.document("schema")):
        assert data is not None
        data["further"] = "b"
    assert store.arguments(job.id) == {"size": [64]} and store.document("schema") == {"a": [1]}
    assert [row.data for row in store.log_rows(job.id, 0, 9)] == [{"text": "a"}]


def test_what_json_cannot_carry_is_refused_and_writes_nothing(store: JobStore) -> None:
    job = NewJob({"value": object()}, "/out/a.png")
    with pytest.raises(Exception, match="not JSON serializable"):
        store.insert(job, 1000, 1.0)
    with pytest.raises(Exception, match="not JSON serializable"):
        store.put_document("schema", {"value": object()})
    assert store.get(job.id) is None and store.counts().queued == 0 and store.document("schema") is None


def test_the_paths_of_the_last_outputs_are_known(store: JobStore) -> None:
    for number, end in enumerate((5.0, 9.0, 7.0)):
        job = store.insert(NewJob({}, f"/out/{number}.png"), 1000, 1.0)
        store.cancel(job.id, end, run=run_of(store, job.id))
    add(store)
    assert store.output_paths(2) == ["/out/1.png", "/out/2.png"]


# --- handles and threads ---


def test_changes_are_those_of_other_handles(store: JobStore, open_store: Callable[[], JobStore]) -> None:
    other = open_store()
    before = store.changes()
    assert store.changes() == before
    add(store)
    assert store.changes() == before
    add(other)
    assert store.changes() != before


def test_what_is_taken_back_is_no_change(store: JobStore, open_store: Callable[[], JobStore]) -> None:
    other = open_store()
    before = store.changes()
    with pytest.raises(ZeroDivisionError), other.transaction():
        add(other)
        raise ZeroDivisionError
    assert store.changes() == before


def test_a_whole_store_is_usable_and_needs_no_repair(store: JobStore) -> None:
    job = add(store)
    store.usable()
    assert store.heal() is None
    assert store.get(job.id) == job


def test_threads_take_turns_and_exactly_max_queued_get_in(store: JobStore) -> None:
    def insert(_: int) -> bool:
        try:
            store.insert(NewJob({}, "/out/a.png"), 25, 1.0)
        except QueueFull:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(insert, range(60))) == 25
    assert store.counts().queued == len(store.queued(100)) == 25


def test_no_thread_sees_half_a_transaction(store: JobStore) -> None:
    ends, starts = add_running(store), add(store)
    with ThreadPoolExecutor(1) as threads:
        with store.transaction():
            store.succeed(ends.id, RESULT, 4.0, run=run_of(store, ends.id))
            seen = threads.submit(store.counts)
            assert not wait([seen], 0.05).done
            store.start(starts.id, 0, 4.0)
        assert seen.result(10) == QueueCounts(queued=0, running=1, succeeded=1, failed=0, canceled=0)
