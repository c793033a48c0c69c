"""What is done at every tick, request or status call costs the same however many jobs are in the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from runs import run_of

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import JobStatus, NewJob
from para_attn_server.stores.base import JobFilter
from para_attn_server.stores.migrate import migrate
from para_attn_server.stores.sql import SqlStore

FEW, MANY = 100, 2000
ERROR = JobError("expired", "too late")


def filled(path: Path, jobs: int, deadline: float = 1e9) -> SqlStore:
    """A store with that many ended jobs and as many queued ones of that deadline."""
    migrate(path)
    store = SqlStore.open(path, durable=False)
    with store._writing() as connection:
        driver: Any = connection.connection.driver_connection
        for name, status, until, ended in (("e", "canceled", None, 2.0), ("q", "queued", deadline, None)):
            rows = [(f"{name}{number:031x}", status, 1.0 + number / 1e5, until, ended, ended) for number in range(jobs)]
            driver.executemany(
                "INSERT INTO jobs (id, status, output_path, created_at, attempts, step, cancel_requested, deadline, "
                "finished_at, finished_steady) VALUES (?, ?, '/a', ?, 0, 0, 0, ?, ?, ?)",
                rows,
            )
    return store


def steps(store: SqlStore, action: Callable[[], object]) -> int:
    """Instructions of SQLite's virtual machine, in tens."""
    count = 0

    def counted() -> int:
        nonlocal count
        count += 1
        return 0

    with store._reading() as connection:
        driver: Any = connection.connection.driver_connection
    driver.set_progress_handler(counted, 10)
    action()
    driver.set_progress_handler(None, 0)
    return count


def costs(store: SqlStore) -> dict[str, int]:
    """Of each thing that is done often."""
    job = store.insert(NewJob({}, "/a"), 10**6, 1.0)
    late = [store.insert(NewJob({}, "/a", deadline=1.0), 10**6, 1.0) for _ in range(5)]
    actions: dict[str, Callable[[], object]] = {
        "insert": lambda: store.insert(NewJob({}, "/a"), 10**6, 1.0),
        "counts": store.counts,
        "queued": lambda: store.queued(2, 5.0),
        "start": lambda: store.start(job.id, 0, 2.0),
        "progress": lambda: store.progress(job.id, 1, 2, 2.0, run=run_of(store, job.id)),
        "running": store.running,
        "mean": store.mean_seconds,
        "cancel": lambda: store.cancel(job.id, 3.0, run=run_of(store, job.id)),
        "expire": lambda: store.expire(ERROR, 5.0, 5.0, len(late)),
        "newest": lambda: store.listed(JobFilter(), 20),
        "newest of a status": lambda: store.listed(JobFilter(JobStatus.CANCELED), 20),
        "newest of a rare status": lambda: store.listed(JobFilter(JobStatus.FAILED), 20),
        "newest of a rare model": lambda: store.listed(JobFilter(model="none"), 20),
        "newest of a rare owner": lambda: store.listed(JobFilter(owner="none"), 20),
        "newest of a time": lambda: store.listed(JobFilter(created_after=1.5), 20),
        "later page": lambda: store.listed(JobFilter(), 20, (1.0005, 50)),
        "news": lambda: store.news(job.id, 0, 20),
        "history": lambda: store.history(job.id),
        "ended_before": lambda: store.ended_before(4.0, 10),
        "delete": lambda: store.delete(list(store.ended_before(4.0, 10))),
    }
    return {name: steps(store, action) for name, action in actions.items()}


def test_nothing_costs_more_with_more_jobs_in_the_store(tmp_path: Path) -> None:
    few, many = filled(tmp_path / "few.db", FEW), filled(tmp_path / "many.db", MANY)
    before, after = costs(few), costs(many)
    few.close()
    many.close()
    grown = {name: (before[name], count) for name, count in after.items() if count > 1.5 * before[name] + 10}
    assert grown == {}


def test_some_of_many_jobs_whose_deadline_has_passed_are_ended_as_quickly_as_some_of_few(tmp_path: Path) -> None:
    few, many = filled(tmp_path / "few.db", FEW, 1.0), filled(tmp_path / "many.db", MANY, 1.0)
    counts = [steps(store, lambda store=store: store.expire(ERROR, 5.0, 5.0, 50)) for store in (few, many)]
    left = [store.counts().queued for store in (few, many)]
    few.close()
    many.close()
    assert left == [FEW - 50, MANY - 50]
    assert counts[1] <= 1.5 * counts[0] + 10
