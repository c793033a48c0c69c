"""The queue's database refuses for a while: what has happened is written when it can be."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from serving import RunningServer
from waiting import wait_until


def test_a_job_that_ends_while_the_database_is_locked_is_recorded_afterward(
    serve: Callable[..., RunningServer], counting_model: str, tmp_path: Path
) -> None:
    server = serve(counting_model)
    server.wait_ready()
    job_id = server.submit(steps=40, delay=0.03, seed=1)
    queued = server.submit(seed=2)
    server.wait_step(job_id, 3)
    with sqlite3.connect(tmp_path / "state" / "jobs.sqlite3", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        wait_until(lambda: server.records("job store unavailable; queued writes will be retried"), 60)
        other.execute("ROLLBACK")
    assert server.result(job_id).status_code == 200
    assert server.result(queued).status_code == 200
    assert server.status(job_id)["attempts"] == 1


def test_a_database_of_a_newer_version_is_exit_code_5_and_left_alone(
    serve: Callable[..., RunningServer], counting_model: str, tmp_path: Path
) -> None:
    first = serve(counting_model)
    first.wait_ready()
    assert first.terminate() == 0
    database = tmp_path / "state" / "jobs.sqlite3"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    second = serve(counting_model)
    assert second.process.wait(30) == 5
    assert "newer" in second.log()
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_jobs_of_another_model_of_the_name_are_not_taken_over(
    serve: Callable[..., RunningServer], counting_model: str, tmp_path: Path
) -> None:
    first = serve(counting_model, shutdown_timeout="0s")
    first.wait_ready()
    first.submit(steps=100000, delay=0.01)
    assert first.terminate() == 0
    copy = shutil.copy(counting_model.rpartition(":")[0], tmp_path / "other.py")
    other = serve(f"{copy}:CountingPredictor")
    assert other.process.wait(30) == 5
    assert "1 unfinished job(s) of another model" in other.log()
