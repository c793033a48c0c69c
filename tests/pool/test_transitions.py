"""The one writer of transitions: what belongs together is made together, and observers hear of it once it is made."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from runs import run_of
from structlog.testing import capture_logs

from para_attn_server.core.errors import IllegalTransition, JobError
from para_attn_server.core.job import JobStatus, NewJob
from para_attn_server.pool.transitions import Transition, Transitions
from para_attn_server.stores.sql import SqlStore

ERROR = JobError("ValueError", "no")


def add(store: SqlStore) -> str:
    return store.insert(NewJob({}, "/a.png"), 10, 1.0).id


def test_observers_get_each_transition_in_order_once_all_are_on_record(store: SqlStore, database: Path) -> None:
    heard: list[tuple[str, str, JobStatus]] = []
    with closing(SqlStore.open(database, durable=False)) as web:

        def observe(name: str, transition: Transition) -> None:
            seen = {job_id: web.get(job_id) for job_id in (first, second)}
            assert [job and job.status for job in seen.values()] == [JobStatus.FAILED, JobStatus.RUNNING]
            assert seen[transition.job.id] == transition.job
            heard.append((name, transition.job.id, transition.job.status))

        observers = [lambda transition, name=name: observe(name, transition) for name in "ab"]
        first, second = add(store), add(store)
        store.start(first, 0, 2.0)
        Transitions(store, observers).apply(
            lambda store: [store.start(second, 0, 3.0)],
            lambda store: [store.fail(first, ERROR, 3.0, run=run_of(store, first))],
        )
    started, failed = (second, JobStatus.RUNNING), (first, JobStatus.FAILED)
    assert heard == [("a", *started), ("b", *started), ("a", *failed), ("b", *failed)]


def test_of_changes_that_cannot_all_be_made_none_is_made_nor_reported(store: SqlStore) -> None:
    heard: list[Transition] = []
    first, second = add(store), add(store)
    with pytest.raises(IllegalTransition):
        Transitions(store, [heard.append]).apply(
            lambda store: [store.start(first, 0, 2.0)],
            lambda store: [store.fail(second, ERROR, 2.0, run=run_of(store, second))] * 1,
            lambda store: [store.cancel(second, 3.0, run=run_of(store, second))],
        )
    assert store.counts().queued == 2 and heard == []
    assert [event.type for event in store.events(first)] == ["queued"]


def test_an_observer_that_raises_does_not_keep_the_others_from_their_work(store: SqlStore) -> None:
    heard: list[Transition] = []

    def fail(_: Transition) -> None:
        raise ValueError("no")

    job_id = add(store)
    with capture_logs() as logs:
        Transitions(store, [fail, heard.append]).apply(lambda store: [store.start(job_id, 0, 2.0)])
    assert [transition.started for transition in heard] == [True]
    assert [(entry["event"], entry["job"]) for entry in logs] == [("an observer of transitions failed", job_id)]
