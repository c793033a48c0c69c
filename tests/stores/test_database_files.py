"""A database whose files are removed or replaced while it is open: nothing that was accepted goes with them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from runs import run_of
from structlog.testing import capture_logs

from para_attn_server.core.errors import JobError, StoreUnavailable
from para_attn_server.core.job import Job, NewJob
from para_attn_server.stores import sqlite
from para_attn_server.stores.migrate import ensure_schema, migrate
from para_attn_server.stores.sql import SqlStore


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "state dir?%23" / "jobs.sqlite3"
    path.parent.mkdir()
    migrate(path)
    return path


@pytest.fixture
def controller(database: Path) -> Iterator[SqlStore]:
    with closing(SqlStore.open(database, durable=False)) as opened:
        opened.counts()
        yield opened


@pytest.fixture
def web(database: Path, controller: SqlStore) -> Iterator[SqlStore]:
    with closing(SqlStore.open(database, durable=True)) as opened:
        opened.counts()
        yield opened


def submit(store: SqlStore) -> Job:
    return store.insert(NewJob({"prompt": "x"}, "/out/a.png"), 100, 1.0)


def remove_all(database: Path) -> None:
    for path in database.parent.glob("jobs.sqlite3*"):
        path.unlink()


def remove_database(database: Path) -> None:
    database.unlink()


def remove_log(database: Path) -> None:
    Path(f"{database}-wal").unlink()


def remove_folder(database: Path) -> None:
    shutil.rmtree(database.parent)


@pytest.mark.parametrize("remove", [remove_all, remove_database, remove_log, remove_folder])
def test_a_database_that_was_removed_is_put_back_with_every_job(
    database: Path, controller: SqlStore, web: SqlStore, remove: object
) -> None:
    accepted = [submit(web), submit(web)]
    controller.start(accepted[0].id, 0, 2.0)
    remove(database)  # type: ignore[operator]
    with pytest.raises(StoreUnavailable):
        submit(web)
    with pytest.raises(StoreUnavailable):
        web.usable()
    controller.cancel(accepted[0].id, 3.0, run=run_of(controller, accepted[0].id))
    assert controller.heal() is None
    assert controller.heal() is None, "nothing is left to do"
    accepted.append(submit(web))
    web.usable()
    with closing(SqlStore.open(database, durable=True)) as fresh:
        assert [job.id for job in fresh.queued(9)] == [job.id for job in accepted[1:]]
        assert fresh.get(accepted[0].id).status == "canceled"  # type: ignore[union-attr]
    controller.start(accepted[2].id, 0, 4.0)
    assert [path.name for path in sorted(database.parent.iterdir())] == [
        database.name,
        f"{database.name}-shm",
        f"{database.name}-wal",
    ]


def test_a_job_that_is_inserted_while_the_database_goes_is_not_accepted(
    database: Path, controller: SqlStore, web: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = sqlite.begin_write

    def begin_then_lose(connection: object) -> None:
        begin(connection)  # type: ignore[arg-type]
        remove_all(database)
        controller.heal()

    monkeypatch.setattr("para_attn_server.stores.sqlite_handle.begin_write", begin_then_lose)
    with pytest.raises(StoreUnavailable, match="removed or replaced"):
        submit(web)
    monkeypatch.undo()
    assert controller.counts().queued == 0
    submit(web)
    assert controller.counts().queued == 1


def test_a_database_that_was_replaced_is_left_alone_and_the_old_one_kept(
    database: Path, controller: SqlStore, web: SqlStore, tmp_path: Path
) -> None:
    job = submit(web)
    other = tmp_path / "other.sqlite3"
    migrate(other)
    remove_all(database)
    other.replace(database)
    refusal = controller.heal()
    (kept,) = database.parent.glob("jobs.sqlite3.replaced-*")
    assert refusal is not None and kept.name in refusal and refusal == controller.heal()
    assert str(database.parent) not in refusal, "clients get it"
    with closing(SqlStore.open(kept, durable=False)) as old:
        assert [each.id for each in old.queued(9)] == [job.id]
    assert controller.get(job.id) is not None
    with closing(SqlStore.open(database, durable=True)) as new:
        submit(new)
        controller.close()
        assert Path(f"{database}-wal").exists(), "what closes an old database removes nothing of the new one"


def test_the_kept_database_has_what_has_happened_since(database: Path, controller: SqlStore, web: SqlStore) -> None:
    ended, canceled, waits = (submit(web).id for _ in range(3))
    controller.start(ended, 0, 2.0)
    database.with_name("new").write_bytes(b"garbage" * 1000)
    database.with_name("new").replace(database)
    controller.heal()
    (kept,) = database.parent.glob("jobs.sqlite3.replaced-*")
    controller.fail(ended, JobError("x", "y"), 3.0, run=run_of(controller, ended))
    controller.heal()
    with closing(SqlStore.open(kept, durable=False)) as old:
        assert old.get(ended).status == "failed"  # type: ignore[union-attr]
    controller.cancel(canceled, 4.0, run=run_of(controller, canceled))
    controller.close()
    with closing(SqlStore.open(kept, durable=False)) as old:
        found = [old.get(job_id).status for job_id in (ended, canceled, waits)]  # type: ignore[union-attr]
    assert found == ["failed", "canceled", "queued"]
    with pytest.raises(StoreUnavailable) as refused:
        ensure_schema(database)
    assert kept.name in str(refused.value) and "jobs.sqlite3-wal" in str(refused.value)


def test_a_copy_that_cannot_be_kept_yet_is_kept_later(
    database: Path, controller: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.with_name("new").write_bytes(b"garbage" * 1000)
    database.with_name("new").replace(database)

    def refuse(*_: object) -> None:
        raise StoreUnavailable("/secret is full", "the disk is full")

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr("para_attn_server.stores.files.copy_database", refuse)
        refusals = [controller.heal(), controller.heal()]
    assert all("cannot be kept: the disk is full" in str(refusal) for refusal in refusals)
    assert len(logs) == 1
    assert "is kept beside it as" in str(controller.heal())


def test_where_nothing_can_be_put_back_that_is_said(database: Path, controller: SqlStore) -> None:
    shutil.rmtree(database.parent)
    database.parent.touch()
    with pytest.raises(StoreUnavailable, match="cannot be written anew"):
        controller.heal()
    database.parent.unlink()
    assert controller.heal() is None


def test_a_store_makes_no_database(tmp_path: Path) -> None:
    with closing(SqlStore.open(tmp_path / "jobs.sqlite3", durable=True)) as store, pytest.raises(StoreUnavailable):
        store.counts()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_takes_no_job(web: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    web.usable()
    full = os.statvfs_result((4096, 4096, 100, 2, 2, 9, 9, 9, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    with pytest.raises(StoreUnavailable, match="full"):
        web.usable()
