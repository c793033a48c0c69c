"""The jobs' logs as the controller writes them: in batches, so many rows a job, none lost to a store that refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from runs import run_of

from para_attn_server.core.errors import StoreUnavailable
from para_attn_server.core.job import NewJob
from para_attn_server.pool.job_logs import FIRST, LAST, MOST_PENDING, JobLogs
from para_attn_server.pool.transitions import Transition, Transitions
from para_attn_server.stores.base import LogWrite
from para_attn_server.stores.migrate import ensure_schema
from para_attn_server.stores.sql import SqlStore


class Store(SqlStore):
    """Counts transactions; refuses on request."""

    writes, refuses = 0, False

    def log(self, write: LogWrite) -> list[int]:
        if self.refuses:
            raise StoreUnavailable("locked")
        self.writes += 1
        return super().log(write)


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    file = tmp_path_factory.mktemp("logs") / "jobs.sqlite3"
    ensure_schema(file)
    with closing(Store.open(file, durable=False)) as opened:
        assert isinstance(opened, Store)
        yield opened


@pytest.fixture
def store(one_store: Store) -> Store:
    one_store.writes, one_store.refuses = 0, False
    return one_store


def new_job(store: Store) -> str:
    job = store.insert(NewJob({}, "/out/a.png"), 100, 1.0)
    return store.start(job.id, 0, 2.0).id


def flush(logs: JobLogs, store: Store) -> None:
    """What waits, as it is written now and then."""
    batch = logs.batch()
    if batch is None:
        return
    try:
        batch.write(store)
    except StoreUnavailable:
        batch.undone()
        raise
    batch.written()


def written(store: Store, job_id: str) -> list[str | int]:
    """Texts, and how many lines are left out between them."""
    return [row.data.get("text", row.data.get("left_out")) for row in store.log_rows(job_id, 0, 10_000)]


def test_lines_of_all_jobs_are_written_in_one_transaction(store: Store) -> None:
    logs, one, two = JobLogs(), new_job(store), new_job(store)
    flush(logs, store)
    assert not logs.waiting and store.writes == 0
    for number in range(20):
        logs.add(one, [f"a{number}"], 0)
        logs.add(two, [f"b{number}", "and"], 3 if number == 5 else 0)
    flush(logs, store)
    assert store.writes == 1 and not logs.waiting
    assert written(store, one) == [f"a{number}" for number in range(20)]
    assert written(store, two)[9:13] == ["and", 3, "b5", "and"]


def test_the_first_and_the_last_lines_of_a_job_are_kept(store: Store) -> None:
    logs, job = JobLogs(), new_job(store)
    for number in range(0, 5000, 250):
        logs.add(job, [str(line) for line in range(number, number + 250)], 0)
        flush(logs, store)
        assert len(written(store, job)) <= FIRST + LAST + 1
    assert store.writes == 20
    kept = written(store, job)
    assert kept[:FIRST] == [str(line) for line in range(FIRST)]
    assert kept[FIRST] == 5000 - FIRST - LAST
    assert kept[FIRST + 1 :] == [str(line) for line in range(5000 - LAST, 5000)]


def test_what_was_counted_before_stays_counted_when_it_leaves(store: Store) -> None:
    logs, job = JobLogs(), new_job(store)
    for number in range(FIRST + LAST + 400):
        logs.add(job, ["x"], 10 if number == FIRST + 5 else 0)
        if number % 100 == 99:
            flush(logs, store)
    lines = [1 if isinstance(entry, str) else entry for entry in written(store, job)]
    assert sum(lines) == FIRST + LAST + 400 + 10


def test_a_store_that_refuses_costs_the_oldest_lines_of_very_many(store: Store) -> None:
    logs, job = JobLogs(), new_job(store)
    store.refuses = True
    for number in range(3 * MOST_PENDING):
        logs.add(job, [str(number)], 0)
        if number % 100 == 0:
            with pytest.raises(StoreUnavailable):
                flush(logs, store)
    assert written(store, job) == []
    store.refuses = False
    logs.traceback(job, 1, "why")
    flush(logs, store)
    kept = written(store, job)
    assert kept[0] == 3 * MOST_PENDING - len(kept) + 2 and kept[-2:] == [str(3 * MOST_PENDING - 1), "why"]


def test_a_job_that_has_ended_is_forgotten(store: Store) -> None:
    logs, job = JobLogs(), new_job(store)
    logs.add(job, ["x"], 0)
    flush(logs, store)
    logs.observe(Transition(store.cancel(job, 2.0, run=run_of(store, job))))
    assert not logs._logs


def test_what_waits_is_written_in_the_transaction_that_ends_the_run(store: Store) -> None:
    logs, ends, lost = JobLogs(), new_job(store), new_job(store)
    transitions = Transitions([logs.observe], durable=[logs.write_with])
    for job_id in (ends, lost):
        logs.add(job_id, ["a"], 0)
        logs.traceback(job_id, 1, "why")
        logs.pack(job_id)
        logs.add(job_id, ["behind"], 0)
    store.refuses = True
    with pytest.raises(StoreUnavailable):
        transitions.make(store, lambda store: [store.cancel(ends, 3.0, run=run_of(store, ends))])
    logs.unpack(ends)
    assert written(store, ends) == [] and store.running()
    store.refuses = False
    logs.pack(ends)
    transitions.work(lambda store: [store.cancel(ends, 3.0, run=run_of(store, ends))])(store)()
    transitions.work(lambda store: [store.requeue(lost, "x", True, 3.0, run=run_of(store, lost))])(store)()
    assert written(store, ends) == ["a", "why", "behind"] and written(store, lost) == ["a", "why"]
    flush(logs, store)
    assert written(store, lost) == ["a", "why", "behind"], "it runs again, and its log goes on"
    assert list(logs._logs) == [lost]
