"""What every JobStore must do: a write about a run that is not the one under way changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from para_attn_server.core.errors import IllegalTransition, JobError, StaleRun
from para_attn_server.core.job import Job, NewJob, Output, Result, RunId
from para_attn_server.stores.base import JobStore

OUTPUT = Output("/out/a.png", "image/png", 1234, "ab" * 32)
RESULT = Result((OUTPUT,))
ERROR = JobError("exception", "ValueError: no")
OURS = "ours"

WRITES: dict[str, Callable[[JobStore, str, RunId | None], Any]] = {
    "progress": lambda store, job_id, run: store.progress(job_id, 1, 2, 9.0, run=run),
    "request_cancel": lambda store, job_id, run: store.request_cancel(job_id, 9.0, run=run),
    "succeed": lambda store, job_id, run: store.succeed(job_id, RESULT, 9.0, (1, 2), run=run),
    "fail": lambda store, job_id, run: store.fail(job_id, ERROR, 9.0, (1, 2), run=run),
    "cancel": lambda store, job_id, run: store.cancel(job_id, 9.0, (1, 2), run=run),
    "requeue": lambda store, job_id, run: store.requeue(job_id, "rank lost", False, 9.0, run=run),
}
STALE = {
    "an earlier run": RunId(OURS, 1),
    "a later run": RunId(OURS, 3),
    "another controller": RunId("theirs", 2),
    "no controller": RunId(None, 2),
    "no run": None,
}


def in_second_run(store: JobStore, controller: str | None = OURS) -> Job:
    """A job whose first run was given back without charge, so that it is in its first attempt again."""
    job = store.insert(NewJob({}, "/out/a.png"), 10, 1.0)
    first = store.start(job.id, 0, 2.0, controller)
    store.requeue(job.id, "the server was restarted", False, 3.0, run=first.run_id)
    second = store.start(job.id, 0, 4.0, controller)
    assert (first.attempts, second.attempts) == (1, 1) and first.run_id != second.run_id
    return second


@pytest.mark.parametrize("stale", STALE)
@pytest.mark.parametrize("write", WRITES)
def test_a_stale_writer_is_refused_and_changes_nothing(store: JobStore, write: str, stale: str) -> None:
    job = in_second_run(store)
    before = store.events(job.id)
    with pytest.raises(StaleRun, match=f"{job.id} is running, in run 2 of controller ours"):
        WRITES[write](store, job.id, STALE[stale])
    assert store.get(job.id) == job and store.events(job.id) == before


@pytest.mark.parametrize("write", WRITES)
def test_a_stale_writer_is_refused_while_the_job_waits_for_its_next_run(store: JobStore, write: str) -> None:
    job = in_second_run(store)
    waiting = store.requeue(job.id, "rank lost", True, 5.0, run=job.run_id)
    with pytest.raises(IllegalTransition, match=f"{job.id} is queued"):
        WRITES[write](store, job.id, job.run_id)
    assert store.get(job.id) == waiting


@pytest.mark.parametrize("controller", [OURS, None])
@pytest.mark.parametrize("write", WRITES)
def test_the_writer_of_the_run_is_not_refused(store: JobStore, write: str, controller: str | None) -> None:
    job = in_second_run(store, controller)
    WRITES[write](store, job.id, job.run_id)
    assert store.get(job.id) != job


def test_a_stale_cancel_request_is_refused_though_the_job_is_to_be_canceled(store: JobStore) -> None:
    job = in_second_run(store)
    asked = store.request_cancel(job.id, 5.0, run=job.run_id)
    with pytest.raises(StaleRun):
        store.request_cancel(job.id, 6.0, run=RunId(OURS, 1))
    assert store.request_cancel(job.id, 6.0, run=job.run_id) == asked


def test_a_stale_write_takes_the_rest_of_its_transaction_with_it(store: JobStore) -> None:
    job, other = in_second_run(store), store.insert(NewJob({}, "/out/b.png"), 10, 1.0)
    with pytest.raises(StaleRun), store.transaction():
        store.start(other.id, 0, 9.0, OURS)
        store.succeed(job.id, RESULT, 9.0, run=RunId(OURS, 1))
    assert store.running() == [job] and store.queued(9) == [other]
