"""Arguments of many megabytes: only the start of a run reads them; everything else costs what it costs without them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from runs import run_of
from sqlalchemy.sql.base import Executable

from para_attn_server.core.job import ANONYMOUS, Job, NewJob
from para_attn_server.core.settings import Settings
from para_attn_server.core.wire.control import CancelReply
from para_attn_server.http.app import create_app
from para_attn_server.service.control_client import ControlClient
from para_attn_server.service.service import JobService
from para_attn_server.stores import statements
from para_attn_server.stores.sql import SqlStore

LARGE = {"image": "x" * 15_000_000}
KEY, DIGEST = "key", "digest"


@pytest.fixture
def store(database: Path) -> Iterator[SqlStore]:
    with closing(SqlStore.open(database, durable=False)) as opened:
        yield opened


def add(store: SqlStore, kwargs: dict[str, Any], key: str | None = None) -> Job:
    return store.insert(NewJob(kwargs, "/out/a.png", idempotency_key=key, request_digest=key and DIGEST), 100, 1.0)


def best(call: Callable[[], object]) -> float:
    """Seconds of the quickest of several calls."""
    times = []
    for _ in range(20):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def test_one_statement_reads_the_arguments_and_one_writes_them() -> None:
    named = {name: str(value) for name, value in vars(statements).items() if isinstance(value, Executable)}
    touching = {name for name, text in named.items() if "kwargs" in text or "arguments" in text}
    assert len(named) > 20 and touching == {"GET_ARGUMENTS", "INSERT_ARGUMENTS"}


def test_no_answer_reads_the_arguments(store: SqlStore, tmp_path: Path) -> None:
    queued, canceled = add(store, LARGE, KEY), add(store, LARGE)
    store.cancel(canceled.id, 2.0, run=run_of(store, canceled.id))
    executed: list[str] = []
    with store.handle.reading() as connection:
        driver: Any = connection.connection.dbapi_connection
    driver.set_trace_callback(executed.append)
    control: Any = create_autospec(ControlClient, instance=True, connected=True, closing=False)
    control.pool.return_value = control.live.return_value = control.place.return_value = None
    control.cancel.return_value = CancelReply(1, None)
    service = JobService(store, control, None, Settings(model="m", state_dir=tmp_path))  # type: ignore[arg-type]
    client = create_app(service, Settings(model="m")).test_client()
    for job in (queued, canceled):
        for route in ("request_status", "get_output", "outputs"):
            assert client.get(f"/{route}/{job.id}").status_code in (202, 409, 410)
    assert client.post(f"/cancel/{canceled.id}").status_code == 404
    assert store.by_key(ANONYMOUS, KEY, DIGEST) == queued
    assert len(executed) >= 8 and not [statement for statement in executed if "arguments" in statement]


def test_reads_and_transitions_cost_what_they_cost_with_small_arguments(store: SqlStore, database: Path) -> None:
    small, large = add(store, {}), add(store, LARGE)
    for job in (small, large):
        store.start(job.id, 0, 2.0)
    assert best(lambda: store.get(large.id)) < 5 * best(lambda: store.get(small.id)) + 0.001
    log = database.with_name(f"{database.name}-wal")
    with store._reading() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    for step in range(10):
        store.progress(large.id, step, 10, 3.0, run=run_of(store, large.id))
    store.request_cancel(large.id, 4.0, run=run_of(store, large.id))
    store.cancel(large.id, 5.0, run=run_of(store, large.id))
    assert log.stat().st_size < 1_000_000
