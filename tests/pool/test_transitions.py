"""The one writer of transitions: what belongs together is made together, and observers hear of it once it is made."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from runs import run_of
from structlog.testing import capture_logs

from para_attn_server.core.errors import IllegalTransition, JobError, StoreUnavailable
from para_attn_server.core.job import JobStatus, NewJob
from para_attn_server.pool.transitions import Change, Transition, Transitions
from para_attn_server.stores.base import JobStore
from para_attn_server.stores.memory import MemoryStore
from para_attn_server.stores.sql import SqlStore

ERROR = JobError("ValueError", "no")


def add(store: SqlStore) -> str:
    return store.insert(NewJob({}, "/a.png"), 10, 1.0).id


def apply(transitions: Transitions, store: JobStore, *changes: Change) -> None:
    """What the store's thread and the loop do, one after the other."""
    transitions.work(*changes)(store)()


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
        apply(
            Transitions(observers),
            store,
            lambda store: [store.start(second, 0, 3.0)],
            lambda store: [store.fail(first, ERROR, 3.0, run=run_of(store, first))],
        )
    started, failed = (second, JobStatus.RUNNING), (first, JobStatus.FAILED)
    assert heard == [("a", *started), ("b", *started), ("a", *failed), ("b", *failed)]


def test_of_changes_that_cannot_all_be_made_none_is_made_nor_reported(store: SqlStore) -> None:
    heard: list[Transition] = []
    first, second = add(store), add(store)
    with pytest.raises(IllegalTransition):
        apply(
            Transitions([heard.append]),
            store,
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
        apply(Transitions([fail, heard.append]), store, lambda store: [store.start(job_id, 0, 2.0)])
    assert [transition.started for transition in heard] == [True]
    assert [(entry["event"], entry["job"]) for entry in logs] == [("an observer of transitions failed", job_id)]


@pytest.mark.parametrize("backend", ["sqlite", "memory"])
@pytest.mark.parametrize("error", [StoreUnavailable("locked"), ValueError("no")], ids=["refused", "fault"])
def test_a_durable_observer_that_raises_undoes_the_transition_and_what_others_wrote(
    backend: str, error: Exception, store: SqlStore
) -> None:
    held = store if backend == "sqlite" else MemoryStore()
    heard: list[Transition] = []
    job_id = held.insert(NewJob({}, "/a.png"), 10, 1.0).id
    faults = [error]

    def note(store: JobStore, transition: Transition) -> None:
        store.put_document("note", {"job": transition.job.id, "status": transition.job.status})

    def fail(_: JobStore, __: Transition) -> None:
        if faults:
            raise faults.pop()

    transitions = Transitions([heard.append], durable=[note, fail])
    with pytest.raises(type(error)):
        apply(transitions, held, lambda store: [store.start(job_id, 0, 2.0)])
    assert held.get(job_id).status is JobStatus.QUEUED  # type: ignore[union-attr]
    assert held.document("note") is None and heard == []
    assert [event.type for event in held.events(job_id)] == ["queued"]
    apply(transitions, held, lambda store: [store.start(job_id, 0, 2.0)])
    assert held.document("note") == {"job": job_id, "status": "running"} and len(heard) == 1
