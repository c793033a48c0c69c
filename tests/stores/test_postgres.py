"""What is particular to PostgreSQL: sessions, transactions, connections that are lost, values that it has not."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from postgres import RunningPostgres
from runs import run_of
from sqlalchemy import Connection

from para_attn_server.core.errors import IllegalTransition, JobError, StateDirError, StoreUnavailable
from para_attn_server.core.job import ANONYMOUS, JobStatus, NewJob, Output, Result
from para_attn_server.stores import postgres as module
from para_attn_server.stores.base import JobFilter, LogRow, LogWrite
from para_attn_server.stores.open import open_store
from para_attn_server.stores.postgres_handle import PostgresHandle
from para_attn_server.stores.sql import SqlStore

RESULT = Result((Output("/out/a.png", "image/png", 1, "ab" * 32),))
PROGRAM = Path(__file__).with_name("store_process.py")
Open = Callable[..., SqlStore]


@pytest.fixture
def database(shared_url: str) -> str:
    """The name of the tests' database."""
    return shared_url.rpartition("/")[2]


@pytest.fixture
def open_handle(shared_url: str) -> Iterator[Open]:
    opened: list[SqlStore] = []

    def open_one(durable: bool = True) -> SqlStore:
        store = open_store(shared_url, durable=durable)
        assert isinstance(store, SqlStore)
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_handle: Open) -> SqlStore:
    """The controller's."""
    return open_handle(durable=False)


@pytest.fixture
def web(open_handle: Open) -> SqlStore:
    return open_handle()


def add(store: SqlStore, **arguments: Any) -> str:
    return store.insert(NewJob(arguments, "/out/a.png"), 1000, 1.0).id


def one(connection: Connection, statement: str) -> Any:
    return connection.exec_driver_sql(statement).scalar_one()


# --- connections that are lost ---


@pytest.mark.parametrize("durable", [True, False])
def test_a_connection_that_was_ended_between_two_calls_is_not_noticed(
    open_handle: Open, postgres: RunningPostgres, database: str, durable: bool
) -> None:
    store = open_handle(durable=durable)
    job_id = add(store)
    assert postgres.disconnect(database) == 1
    assert store.get(job_id) is not None
    postgres.disconnect(database)
    add(store)
    assert store.counts().queued == 2


def test_a_connection_that_ends_in_the_middle_is_a_refusal_and_the_next_call_is_well(
    store: SqlStore, postgres: RunningPostgres, database: str
) -> None:
    job_id = add(store)
    with pytest.raises(StoreUnavailable, match="cannot be reached"), store.transaction():
        store.start(job_id, 0, 2.0)
        postgres.disconnect(database)
        store.cancel(job_id, 3.0, run=run_of(store, job_id))
    with pytest.raises(StoreUnavailable), store._reading() as connection:
        postgres.disconnect(database)
        one(connection, "SELECT 1")
    job = store.get(job_id)
    assert job is not None and job.status is JobStatus.QUEUED
    assert store.start(job_id, 0, 4.0).attempts == 1


@pytest.mark.parametrize("arrives", [True, False])
def test_a_commit_without_a_reply_is_made_or_not_and_the_caller_learns_which(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    job_id = add(store)
    send, lost = PostgresHandle._send, []

    def cut(self: PostgresHandle, opened: Any, statements: str) -> str:
        if statements == "COMMIT" and not lost:
            lost.append(arrives and send(self, opened, statements))
            opened.driver.close()
            raise StoreUnavailable("cut off")
        return send(self, opened, statements)

    monkeypatch.setattr(PostgresHandle, "_send", cut)
    if arrives:
        assert store.start(job_id, 0, 2.0).status is JobStatus.RUNNING
    else:
        with pytest.raises(StoreUnavailable, match="in the middle of a write"):
            store.start(job_id, 0, 2.0)
        assert store.start(job_id, 0, 2.0).attempts == 1
    assert [event.type for event in store.events(job_id)] == ["queued", "started"]


@pytest.mark.parametrize("attempt", range(3))
def test_a_commit_that_is_made_after_its_caller_has_given_up_is_made_once(
    store: SqlStore, postgres: RunningPostgres, monkeypatch: pytest.MonkeyPatch, attempt: int
) -> None:
    job_id = add(store)
    send, late = PostgresHandle._send, []

    def stop(self: PostgresHandle, opened: Any, statements: str) -> str:
        if statements != "COMMIT" or late:
            return send(self, opened, statements)
        late.append(statements)
        opened.driver.limit = 0.2
        with postgres.stopped():
            return send(self, opened, statements)

    monkeypatch.setattr(PostgresHandle, "_send", stop)
    assert store.start(job_id, 0, 2.0).status is JobStatus.RUNNING
    assert late and [event.type for event in store.events(job_id)] == ["queued", "started"]


def test_a_web_worker_waits_a_while_only_to_learn_whether_a_job_is_on_record(
    web: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = PostgresHandle._send

    def refuse(*_: Any) -> None:
        raise module.NoReply("no response")

    def cut(self: PostgresHandle, opened: Any, statements: str) -> str:
        said = send(self, opened, statements)
        if statements == "COMMIT":
            opened.driver.close()
            monkeypatch.setattr(self.address, "connect", refuse)
            raise StoreUnavailable("cut off")
        return said

    monkeypatch.setattr(module, "REPLY_WITHIN", 0.3)
    monkeypatch.setattr(PostgresHandle, "_send", cut)
    with pytest.raises(StoreUnavailable, match=r"does not respond.*whether the last write is on record is not known"):
        add(web)
    monkeypatch.undo()
    assert web.counts().queued == 1


def test_a_database_that_has_stopped_is_a_refusal_in_time_and_holds_nobody_up_afterward(
    store: SqlStore, web: SqlStore, postgres: RunningPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = add(web)
    monkeypatch.setattr(module.StoreConnection, "limit", 0.3)
    monkeypatch.setitem(module._DEFAULTS, "connect_timeout", 2)
    web.close()
    store.close()
    assert web.get(job_id) == store.get(job_id)
    with postgres.stopped():
        for each in (web, store):
            for connection in _opened(each):
                connection.limit = 0.3
            with pytest.raises(StoreUnavailable, match="does not respond") as caught:
                each.get(job_id)
            assert caught.value.public == "the queue's database does not respond"
    assert web.get(job_id) == store.get(job_id) is not None
    store.start(job_id, 0, 2.0)


def _opened(store: SqlStore) -> list[module.StoreConnection]:
    with store._reading() as connection:
        return [connection.connection.driver_connection]  # type: ignore[list-item]


def test_while_a_database_does_not_respond_one_caller_tries_and_the_others_need_not_wait(
    postgres: RunningPostgres, web: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(web.handle, PostgresHandle)
    began, go_on = threading.Event(), threading.Event()

    def hang(name: str) -> module.StoreConnection:
        began.set()
        assert go_on.wait(10)
        raise module.NoReply("no response")

    monkeypatch.setattr(web.handle.address, "connect", hang)
    go_on.set()
    with pytest.raises(StoreUnavailable, match="does not respond"):
        web.counts()
    began.clear()
    go_on.clear()
    with ThreadPoolExecutor(1) as threads:
        tries = threads.submit(web.counts)
        assert began.wait(10)
        for _ in range(5):
            with pytest.raises(StoreUnavailable, match="does not respond"):
                web.counts()
        assert not tries.done()
        go_on.set()
        assert isinstance(tries.exception(10), StoreUnavailable)
    monkeypatch.undo()
    assert web.counts().queued == 0


# --- sessions ---


def test_no_session_stays_in_a_transaction(
    store: SqlStore, web: SqlStore, postgres: RunningPostgres, database: str
) -> None:
    job_id = add(web)
    store.start(job_id, 0, 2.0)
    with pytest.raises(IllegalTransition):
        store.start(job_id, 0, 2.0)
    assert store.counts().running == len(web.running()) == 1
    states = {session["name"].split()[1]: session["state"] for session in postgres.sessions(database)}
    assert states == {"controller": "idle", "web": "idle"}


def test_a_process_that_stops_in_a_transaction_holds_the_others_up_for_seconds_only(store: SqlStore) -> None:
    with store._reading() as connection:
        names = ("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout")
        assert [one(connection, f"SHOW {name}") for name in names] == ["10s", "2s", "5s"]


def test_what_has_happened_is_on_disk_when_it_is_said_and_steps_need_not_be(
    postgres: RunningPostgres, database: str, open_handle: Open
) -> None:
    with postgres.connect() as admin:
        admin.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
    store, seen = open_handle(durable=False), []
    for relaxed in (False, True):
        with store._writing(relaxed=relaxed) as connection:
            seen.append(one(connection, "SHOW synchronous_commit"))
    with store.transaction(), store._writing(relaxed=True) as connection:
        seen.append(one(connection, "SHOW synchronous_commit"))
    assert seen == ["on", "off", "on"]
    with postgres.connect() as admin:
        admin.execute(f"ALTER DATABASE {database} RESET synchronous_commit")


def test_steps_and_logs_are_the_relaxed_writes(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = add(store)
    run = store.start(job_id, 0, 2.0).run_id
    writing, relaxed = store._writing, []

    def noted(**options: bool) -> Any:
        relaxed.append(bool(options))
        return writing(**options)

    monkeypatch.setattr(store, "_writing", noted)
    store.progress(job_id, 1, 9, 3.0, run=run)
    store.log(LogWrite([LogRow(job_id, "log", 3.0, {"text": "x"})]))
    store.succeed(job_id, RESULT, 4.0, run=run)
    add(store)
    assert relaxed == [True, True, False, False]


def test_no_read_looks_through_a_table(store: SqlStore) -> None:
    job_ids = [add(store) for _ in range(20)]
    run = store.start(job_ids[0], 0, 2.0).run_id
    tables = "SELECT coalesce(sum(seq_scan), 0) FROM pg_stat_xact_user_tables WHERE relname IN " + str(
        ("jobs", "events", "outputs", "arguments", "documents")
    )
    with store.transaction(), store._reading() as connection:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        before = one(connection, tables)
        store.counts(), store.queued(5), store.running(), store.mean_seconds(), store.ended_before(9.0, 5)
        store.with_outputs(5), store.output_paths(5), store.events(job_ids[0]), store.log_rows(job_ids[0], 0, 5)
        store.news(job_ids[0], 0, 5), store.history(job_ids[0])
        store.get(job_ids[0]), store.arguments(job_ids[0]), store.by_key(ANONYMOUS, "k", "d")
        store.document("schema"), store.listed(JobFilter(), 5), store.listed(JobFilter(status=JobStatus.FAILED), 5)
        store.listed(JobFilter(model="m"), 5, (9.0, 9)), store.listed(JobFilter(owner="ann"), 5)
        store.expire(JobError("expired", "too late"), 9.0, 9.0, 5)
        store.succeed(job_ids[0], RESULT, 4.0, run=run)
        store.delete([job_ids[0]])
        assert one(connection, tables) == before


# --- values ---


def test_arguments_are_json_as_it_was_written(store: SqlStore) -> None:
    arguments = {"prompt": "\ud800 \0 ☉", "b": 1, "a": 10**30, "name\0": 1.5e300}
    job_id = add(store, **arguments)
    assert store.arguments(job_id) == arguments and list(store.arguments(job_id)) == list(arguments)
    with store._reading() as connection:
        kinds = connection.exec_driver_sql(
            "SELECT DISTINCT data_type FROM information_schema.columns WHERE data_type LIKE 'json%%'"
            " AND table_schema = 'public'"
        ).scalars()
        assert list(kinds) == ["json"]


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_json_has_not_is_refused_before_it_reaches_the_transaction(store: SqlStore, value: float) -> None:
    job_id = add(store)
    with store.transaction():
        started = store.start(job_id, 0, 2.0)
        with pytest.raises(Exception, match="JSON compliant"):
            store.log(LogWrite([LogRow(job_id, "log", 3.0, {"text": value})]))
        store.cancel(job_id, 3.0, run=started.run_id)
    assert store.counts().canceled == 1


def test_a_write_that_the_database_refuses_leaves_the_rest_of_its_transaction_in_force(store: SqlStore) -> None:
    job_id = add(store)
    with store.transaction():
        started = store.start(job_id, 0, 2.0)
        with pytest.raises(Exception, match="out of range"):
            store.progress(job_id, 10**30, None, 3.0, run=started.run_id)
        store.fail(job_id, JobError("internal", "no"), 3.0, run=started.run_id)
    assert [event.type for event in store.events(job_id)] == ["queued", "started", "failed"]


def test_an_id_that_no_text_can_be_is_no_job(store: SqlStore) -> None:
    assert store.get("a\0b") is None


def test_names_and_keys_that_no_text_can_be_read_back(store: SqlStore) -> None:
    new = NewJob({}, "/out/\udcff.png", model="\0", shape="\ud800", idempotency_key="\ufffe\0", request_digest="d")
    job = store.insert(new, 10, 1.0)
    assert store.get(job.id) == job == store.by_key(job.owner, "\ufffe\0", "d")
    assert (job.output_path, job.model, job.shape) == ("/out/\udcff.png", "\0", "\ud800")


def test_numbers_go_on_where_four_bytes_end(store: SqlStore) -> None:
    with store._reading() as connection:
        for sequence in ("jobs_seq_seq", "events_id_seq"):
            connection.exec_driver_sql(f"ALTER SEQUENCE {sequence} RESTART WITH 5000000000")
    job_id = add(store)
    started = store.start(job_id, 0, 2.0)
    store.progress(job_id, 2**40, 2**41, 3.0, run=started.run_id)
    found = store.get(job_id)
    assert found is not None and (found.seq, found.step, found.total_steps) == (5 * 10**9, 2**40, 2**41)
    assert store.events(job_id)[0].id == 5 * 10**9


# --- several at once ---


def test_of_two_that_start_a_job_one_does(store: SqlStore, web: SqlStore) -> None:
    for _ in range(10):
        job_id = add(store)
        with ThreadPoolExecutor(2) as threads:
            tries = [threads.submit(each.start, job_id, 0, 2.0) for each in (store, web)]
        errors = [each.exception() for each in tries]
        assert {type(error) for error in errors} == {IllegalTransition, type(None)}


def test_places_in_the_queue_are_seen_in_their_order(store: SqlStore, open_handle: Open) -> None:
    webs, seen, place = [open_handle() for _ in range(3)], [], 0
    with ThreadPoolExecutor(3) as threads:
        inserting = [threads.submit(lambda web=web: [add(web) for _ in range(40)]) for web in webs]
        while len(seen) < 120:
            done = all(each.done() for each in inserting)
            found = store.queued(500, after=place)
            assert found or not done, "a job became visible behind a later one"
            seen += [job.id for job in found]
            place = found[-1].seq if found else place
    assert sorted(seen) == sorted(job_id for each in inserting for job_id in each.result())


# --- one server ---


def test_a_second_server_is_refused_and_takes_over_when_the_first_is_gone(store: SqlStore, open_handle: Open) -> None:
    store.counts()
    second = open_handle(durable=False)
    with pytest.raises(StateDirError, match=r"in use by another server \(para-attn-server controller .*:\d+\)"):
        second.counts()
    store.close()
    assert second.counts().queued == 0


def test_a_server_takes_the_database_back_from_its_own_broken_session(
    store: SqlStore, postgres: RunningPostgres, database: str
) -> None:
    assert isinstance(store.handle, PostgresHandle)
    job_id = add(store)
    (broken,) = _opened(store)
    store.handle.engine.dispose(close=False)  # as where the end of a connection does not reach the database
    assert store.start(job_id, 0, 2.0).attempts == 1
    broken.close()
    assert len(postgres.sessions(database)) == 1


def test_a_server_that_has_lost_its_session_to_another_one_writes_no_more(
    store: SqlStore, open_handle: Open, postgres: RunningPostgres, database: str
) -> None:
    job_id = add(store)
    postgres.disconnect(database)
    second = open_handle(durable=False)
    second.start(job_id, 0, 2.0)
    for use in (lambda: store.cancel(job_id, 3.0), store.usable, store.changes):
        with pytest.raises(StateDirError, match="another server"):
            use()
    second.close()
    assert store.counts().running == 1


# --- processes ---


def started(role: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROGRAM), role, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_exactly_max_queued_get_in_from_several_processes(store: SqlStore, shared_url: str) -> None:
    inserters = [started("insert", shared_url, 20, 25) for _ in range(2)]
    said = [line for each in inserters for line in each.communicate("go\n", timeout=60)[0].split()]
    accepted = [line for line in said if line not in ("ready", "full")]
    assert len(accepted) == 25 and len(said) == 42
    assert {job.id for job in store.queued(100)} == set(accepted)


def test_greenlets_of_a_web_worker_do_not_wait_for_one_another(shared_url: str) -> None:
    turns, seconds = started("sleepers", shared_url, 4).communicate(timeout=60)[0].split()
    assert int(turns) > 20 and float(seconds) < 3, "one after the other, or all while one waited"
