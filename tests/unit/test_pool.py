"""The pool over a real database, while the store refuses now and then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from para_attn_server.core.channel import CancelOrder, CancelReply, LineBuffer, encode
from para_attn_server.core.errors import StateDirError
from para_attn_server.core.job import JobStatus, NewJob, Output
from para_attn_server.daemon.control import ControlServer, WebConnection
from para_attn_server.daemon.housekeeping import AT_ONCE, remove_old_jobs
from para_attn_server.outputs.folder import OutputFolder
from para_attn_server.pool.contract import ModelContract
from para_attn_server.pool.pool import Pool
from para_attn_server.stores.migrate import ensure_schema
from para_attn_server.stores.sql import SqlStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    ensure_schema(tmp_path / "jobs.sqlite3")
    with closing(SqlStore.open(tmp_path / "jobs.sqlite3", durable=False)) as opened:
        yield opened


@pytest.fixture
def pool(store: SqlStore) -> Pool:
    return Pool(store, ModelContract(store, "m", "1"), 2, lambda _: None, lambda _: None, lambda _: None)


def running(store: SqlStore, folder: Path, group: int) -> tuple[str, Output]:
    """A job that runs on that group, and the output that it has just published."""
    path = folder / f"{group}.png"
    job = store.insert(NewJob({}, str(path)), 10, 1.0 + group)
    store.start(job.id, group, 10.0 + group)
    path.write_bytes(b"x")
    return job.id, Output(str(path), "image/png", 1, "0")


def refuse(*_: Any, **__: Any) -> None:
    raise StateDirError("locked")


def end_unwritten(pool: Pool, store: SqlStore, job_id: str, output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job ends while the store refuses."""
    with monkeypatch.context() as patch:
        patch.setattr(store, "succeed", refuse)
        pool.run_ended(job_id, output, (5, 5))
    assert pool.busy, "it is not over before it is written"


def test_a_cancel_does_not_hit_a_job_whose_end_is_still_to_be_written(
    pool: Pool, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (done, output), (other, _) = running(store, tmp_path, 0), running(store, tmp_path, 1)
    end_unwritten(pool, store, done, output, monkeypatch)
    assert pool.cancel(None) == other
    job = store.get(done)
    assert job is not None and (job.status, job.output) == (JobStatus.SUCCEEDED, output)
    assert pool.cancel(done) is None


def test_nothing_is_canceled_while_the_store_refuses(
    pool: Pool, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, output = running(store, tmp_path, 0)
    end_unwritten(pool, store, job_id, output, monkeypatch)
    monkeypatch.setattr(store, "succeed", refuse)
    with pytest.raises(StateDirError):
        pool.cancel(job_id)


def test_what_waits_to_be_written_is_tried_again_at_the_end(
    pool: Pool, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, output = running(store, tmp_path, 0)
    end_unwritten(pool, store, job_id, output, monkeypatch)
    pool.close()
    job = store.get(job_id)
    assert job is not None and job.status is JobStatus.SUCCEEDED and not pool.busy


def test_an_order_that_is_refused_does_not_take_the_next_ones_with_it() -> None:
    def cancel(job_id: str | None) -> str | None:
        if job_id == "a":
            raise StateDirError("locked")
        return job_id

    answers: list[bytes] = []
    connection = WebConnection(ControlServer(lambda: None, cancel, lambda: None))
    connection.write = answers.append
    connection.data_received(b"".join(encode(CancelOrder(number, name)) for number, name in enumerate("abc")))
    assert list(LineBuffer().feed(b"".join(answers))) == [CancelReply(1, "b"), CancelReply(2, "c")]


def test_old_jobs_are_removed_a_few_at_a_time_until_none_is_left(store: SqlStore, tmp_path: Path) -> None:
    outputs = OutputFolder(tmp_path, allow_any=False, state_dir=tmp_path / "state")
    paths = []
    for group in range(AT_ONCE + 1):
        job_id, output = running(store, tmp_path, group)
        store.succeed(job_id, output, 100.0)
        paths.append(Path(output.path))
    later = max(path.stat().st_mtime for path in paths) + 1
    assert remove_old_jobs(store, outputs, later)
    assert sum(path.exists() for path in paths) == 1
    assert not remove_old_jobs(store, outputs, later)
    assert store.counts().succeeded == 0 and not any(path.exists() for path in paths)
