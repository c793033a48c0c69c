"""What every JobStore knows of the outputs whose files are kept: which, how many bytes, which were removed and why."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

from runs import run_of

from para_attn_server.core.errors import JobError
from para_attn_server.core.job import NewJob, Output, Removal, Result
from para_attn_server.stores.base import JobStore, OutputTotals
from para_attn_server.stores.migrate import ensure_schema
from para_attn_server.stores.sql import SqlStore

DUMP = Path(__file__).parents[1] / "data" / "jobs-0001.sql"


def test_outputs_are_kept_until_they_are_noted_as_removed(store: JobStore) -> None:
    assert store.output_totals() == OutputTotals(0, 0, 0)
    jobs = []
    for number in range(3):
        job = store.insert(NewJob({}, f"/out/{number}.png"), 10, 1.0)
        store.start(job.id, 0, 2.0)
        result = Result((Output(f"/out/{number}.png", "image/png", 10 + number, "0"),))
        jobs.append(store.succeed(job.id, result, 30.0 - number, run=run_of(store, job.id)))
    failed = store.insert(NewJob({}, "/out/a.png"), 10, 1.0)
    store.fail(failed.id, JobError("x", "x"), 1.0)
    assert store.with_outputs(9) == jobs[::-1] and store.output_totals() == OutputTotals(3, 33, 0)
    assert store.with_outputs(1) == jobs[2:] and store.with_outputs(9, 28.5) == jobs[2:]
    assert store.with_outputs(9, 99.0, 28.5) == jobs[2:]
    store.outputs_removed([jobs[2].id, failed.id, "unknown"], Removal.EXPIRED, 40.0)
    store.outputs_removed([jobs[1].id, jobs[2].id], Removal.EVICTED, 50.0)
    removed = [store.get(job.id) for job in jobs]
    assert removed == [
        jobs[0],
        replace(jobs[1], outputs_removed_at=50.0, outputs_removed_for="evicted"),
        replace(jobs[2], outputs_removed_at=40.0, outputs_removed_for="expired"),
    ]
    assert store.with_outputs(9) == jobs[:1] and store.output_totals() == OutputTotals(1, 10, 1)
    store.delete([job.id for job in jobs])
    assert store.output_totals() == OutputTotals(0, 0, 1) and store.with_outputs(9) == []


def test_the_outputs_of_an_older_database_are_kept_and_counted(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as connection:
        connection.executescript(DUMP.read_text())
    connection.close()
    ensure_schema(tmp_path / "jobs.sqlite3")
    store = SqlStore.open(tmp_path / "jobs.sqlite3", durable=False)
    try:
        jobs = store.with_outputs(9)
        size = sum(output.size for job in jobs for output in job.outputs)
        assert len(jobs) == 2 and size > 0 and store.output_totals() == OutputTotals(2, size, 0)
        assert [job.outputs_removed_at for job in jobs] == [None, None]
    finally:
        store.close()


def test_the_oldest_outputs_are_found_by_an_index(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT * FROM jobs WHERE output_bytes IS NOT NULL AND finished_at < 5.0 "
            "AND finished_steady < 5.0 ORDER BY finished_at LIMIT 25"
        ).fetchall()
    connection.close()
    assert "jobs_by_output" in plan[0][-1] and len(plan) == 1, plan
