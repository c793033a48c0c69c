"""Another program locks the database for ten seconds while real ranks work: nothing waits for it, nothing is lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from serving import RunningServer
from waiting import wait_until

pytestmark = pytest.mark.slow
LOCKED = 10.0
SOON = 6.0
"""Seconds in which what must not wait for the database happens, on a busy machine."""


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Nobody else can write; until ten seconds have passed, at the least."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        ends = time.monotonic() + LOCKED
        try:
            yield
            wait_until(lambda: time.monotonic() >= ends, LOCKED + 1)
        finally:
            other.execute("ROLLBACK")


@pytest.mark.parametrize("what", ["cancel", "killed rank", "hang of a rank"])
def test_a_database_that_is_locked_delays_no_cancel_no_death_and_no_watchdog(
    serve: Callable[..., RunningServer], counting_model: str, tmp_path: Path, what: str
) -> None:
    server = serve(counting_model, step_timeout="1s", min_step_timeout="1s")
    server.wait_ready()
    job_id = server.submit(steps=10_000 if what == "cancel" else 60, delay=0.05, seed=1)
    queued = server.submit(seed=2)
    server.wait_step(job_id, 3)
    pid = server.rank_pid(1)
    with locked(tmp_path / "state" / "jobs.sqlite3"):
        wait_until(lambda: server.records("job store unavailable; queued writes will be retried"), SOON)
        began = time.monotonic()
        if what == "cancel":
            canceled = server.post(f"/cancel/{job_id}")
            assert (canceled.status_code, canceled.json()["status"]) == (202, "running")
            wait_until(lambda: server.group()["state"] == "ready", SOON)
        else:
            os.kill(pid, signal.SIGKILL if what == "killed rank" else signal.SIGSTOP)
            wait_until(lambda: server.group()["ranks"][1]["pid"] != pid, SOON)
        assert time.monotonic() - began < SOON
        assert server.status(job_id)["status"] == "running", "on record"
    result = server.result(job_id)
    if what == "cancel":
        assert result.json()["type"].endswith("job-canceled")
    else:
        assert (result.status_code, result.json()["attempts"]) == (200, 2)
    after = server.result(queued)
    assert (after.status_code, after.json()["attempts"]) == (200, 1)
