"""What is particular to SQLite: durability, transactions, and errors that an operator understands."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import StatementError

from para_attn_server.core.errors import StoreUnavailable
from para_attn_server.core.job import NewJob
from para_attn_server.stores import sqlite
from para_attn_server.stores.migrate import migrate
from para_attn_server.stores.sql import SqlStore
from para_attn_server.stores.sqlite import begin_write, create_sqlite_engine, refusal
from para_attn_server.stores.sqlite_handle import SqliteHandle


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.05)
    path = tmp_path / "state.db"
    migrate(path)
    return path


@pytest.fixture
def store(database: Path) -> Iterator[SqlStore]:
    store = SqlStore.open(database, durable=False)
    yield store
    store.close()


@pytest.fixture
def engine(store: SqlStore) -> Engine:
    assert isinstance(store.handle, SqliteHandle)
    return store.handle.engine


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
def test_durable_means_synchronous_full_else_normal(database: Path, durable: bool, level: int) -> None:
    engine = create_sqlite_engine(str(database), durable=durable)
    with engine.connect() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("synchronous", "journal_mode", "foreign_keys", "busy_timeout")
        ]
    engine.dispose()
    assert pragmas == [level, "wal", 1, 50 if durable else 10]


def test_opening_a_store_opens_no_file(tmp_path: Path) -> None:
    SqlStore.open(tmp_path / "state.db", durable=True).close()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_no_transaction_open(store: SqlStore) -> None:
    job = store.insert(NewJob({}, "/out/a.png"), 10, 1.0)
    with pytest.raises(StatementError, match="not JSON serializable") as caught:
        store.put_document("bad", {"value": "a private prompt", "other": object()})
    assert "private" not in str(caught.value)
    assert store.document("bad") is None
    assert store.start(job.id, 0, 2.0).attempts == 1


def test_a_reader_goes_on_while_another_writes_and_a_writer_says_that_it_is_locked(
    store: SqlStore, database: Path
) -> None:
    job = store.insert(NewJob({}, "/out/a.png"), 10, 1.0)
    other = create_sqlite_engine(str(database), durable=False)
    with other.connect() as connection:
        begin_write(connection)
        connection.exec_driver_sql("DELETE FROM jobs")
        assert store.get(job.id) == job
        with pytest.raises(StoreUnavailable, match="is locked by another process"):
            store.start(job.id, 0, 2.0)
        connection.rollback()
    other.dispose()
    assert store.start(job.id, 0, 3.0).attempts == 1


def test_a_full_disk_is_said_and_survived(store: SqlStore, engine: Engine) -> None:
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
        big = NewJob({"prompt": "x" * 100_000}, "/out/a.png")
        with pytest.raises(StoreUnavailable, match=r"disk of the state directory is full.*state\.db"):
            store.insert(big, 10, 1.0)
        connection.exec_driver_sql("PRAGMA max_page_count = 100000")
    assert store.insert(big, 10, 2.0).id == big.id


@pytest.mark.parametrize("content", [b"no database at all" * 500, b"SQLite format 3\0" + b"\xff" * 9000])
def test_a_damaged_file_is_said_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(content)
    store = SqlStore.open(path, durable=True)
    with pytest.raises(StoreUnavailable, match="is damaged or no SQLite database"):
        store.counts()
    store.close()
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    store = SqlStore.open(tmp_path / "nowhere" / "state.db", durable=True)
    with pytest.raises(StoreUnavailable, match="check the owner and permissions"):
        store.counts()
    store.close()


def test_a_database_that_may_only_be_read_is_said(database: Path) -> None:
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("DELETE FROM jobs")
    connection.close()
    assert "cannot be opened for writing" in str(refusal(caught.value, str(database)))
