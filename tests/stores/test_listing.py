"""Lists of jobs, newest first: what is in them, in which order, and which index a database reads for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from runs import run_of

from para_attn_server.core.job import ANONYMOUS, Job, JobStatus, NewJob, Output, Result
from para_attn_server.stores.base import JobFilter, JobStore, LogRow, LogWrite, Place
from para_attn_server.stores.listing import page
from para_attn_server.stores.migrate import migrate
from para_attn_server.stores.sql import SqlStore

OUTPUTS = tuple(Output(f"/out/{name}.png", "image/png", 1, "ab" * 32) for name in "ab")


def add(store: JobStore, now: float, model: str = "m", owner: str = ANONYMOUS) -> Job:
    return store.insert(NewJob({}, "/out/a.png", model=model, owner=owner), 1000, now)


def ids(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]


def test_the_newest_come_first_and_every_page_goes_on_where_the_last_one_ended(store: JobStore) -> None:
    made = [add(store, now) for now in (5.0, 3.0, 4.0, 4.0, 6.0)]
    expected = [made[index].id for index in (4, 0, 3, 2, 1)]
    assert ids(store.listed(JobFilter(), 10)) == expected
    seen: list[str] = []
    behind: Place | None = None
    while jobs := store.listed(JobFilter(), 2, behind):
        seen += ids(jobs)
        behind = jobs[-1].created_at, jobs[-1].seq
        add(store, 9.0)  # what comes meanwhile moves nothing
    assert seen == expected


def test_filters_are_of_status_model_owner_and_time_and_hold_together(store: JobStore) -> None:
    old, failing, other, hers = add(store, 1.0), add(store, 2.0), add(store, 3.0, "n"), add(store, 4.0, owner="ann")
    store.cancel(failing.id, 5.0)
    assert ids(store.listed(JobFilter(JobStatus.CANCELED), 9)) == [failing.id]
    assert ids(store.listed(JobFilter(JobStatus.QUEUED), 9)) == [hers.id, other.id, old.id]
    assert ids(store.listed(JobFilter(model="n"), 9)) == [other.id]
    assert ids(store.listed(JobFilter(owner="ann"), 9)) == [hers.id]
    assert ids(store.listed(JobFilter(owner=ANONYMOUS, model="m"), 9)) == [failing.id, old.id]
    assert ids(store.listed(JobFilter(created_after=1.0, created_before=4.0), 9)) == [other.id, failing.id]
    assert store.listed(JobFilter(JobStatus.RUNNING, "m", "ann", 1.0, 9.0), 9) == []


def test_a_listed_job_is_whole_with_all_of_its_outputs(store: JobStore) -> None:
    job, last = add(store, 1.0), add(store, 2.0)
    store.start(job.id, 0, 2.0)
    done = store.succeed(job.id, Result(OUTPUTS), 3.0, run=run_of(store, job.id))
    assert store.listed(JobFilter(), 2) == [last, replace(done, outputs=OUTPUTS)] == [last, store.get(job.id)]


def test_the_history_leaves_out_what_there_may_be_thousands_of(store: JobStore) -> None:
    job = add(store, 1.0)
    store.start(job.id, 0, 2.0)
    store.progress(job.id, 1, 2, 2.0, run=run_of(store, job.id))
    store.log(LogWrite([LogRow(job.id, "log", 2.5, {"text": "a"}), LogRow(job.id, "traceback", 2.5, {"text": "b"})]))
    store.requeue(job.id, "rank lost", True, 3.0, run=run_of(store, job.id))
    assert [event.type for event in store.history(job.id)] == ["queued", "started", "requeued"]
    assert store.history("nobody") == []


COMBINATIONS = [
    (JobFilter(), "jobs_by_creation"),
    (JobFilter(created_after=1.0, created_before=2.0), "jobs_by_creation"),
    (JobFilter(JobStatus.FAILED), "jobs_ended"),
    (JobFilter(JobStatus.SUCCEEDED, created_after=1.0), "jobs_ended"),
    (JobFilter(JobStatus.QUEUED), "jobs_by_status"),
    (JobFilter(JobStatus.RUNNING, created_before=1.0), "jobs_by_status"),
    (JobFilter(model="m"), "jobs_by_model"),
    (JobFilter(owner="ann"), "jobs_by_owner"),
    (JobFilter(owner="ann", created_before=3.0), "jobs_by_owner"),
]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    """A SQLite store without jobs."""
    path = tmp_path_factory.mktemp("state") / "a.db"
    migrate(path)
    store = SqlStore.open(path, durable=False)
    yield store
    store.close()


@pytest.mark.parametrize("behind", [None, (2.0, 7)], ids=["first page", "later page"])
@pytest.mark.parametrize(("wanted", "index"), COMBINATIONS)
def test_a_page_is_read_from_an_index(empty: SqlStore, wanted: JobFilter, index: str, behind: Place | None) -> None:
    statement, values = page(wanted, 20, behind)
    with empty._reading() as connection:
        compiled: Any = statement.compile(connection)
        rows = connection.exec_driver_sql(
            f"EXPLAIN QUERY PLAN {compiled}",
            tuple({**compiled.params, **values}[name] for name in compiled.positiontup),
        ).all()
    plan = {number: text for number, _, _, text in rows}
    chosen = next(text for number, _, _, text in rows if " USING " in text and "jobs" in text)
    assert f"INDEX {index}" in chosen, plan
    reads = [text for text in plan.values() if text.startswith(("SCAN", "SEARCH"))]
    whole = [text for text in reads if text.startswith("SCAN jobs") and "INDEX" not in text]
    assert not whole and not any("arguments" in text or "job_counts" in text for text in reads), plan
    inner = [text for number, parent, _, text in rows if "TEMP B-TREE" in text and parent != 0]
    assert not inner or index == "jobs_by_status", "few jobs wait or run; all others come in the index's order"
