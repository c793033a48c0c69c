"""A state directory that an older version has left behind goes on: nothing in it is lost, its queue is done.

tests/data/jobs-0001.sql is a dump of a real server's database. `/outputs` in it stands for the output folder.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from serving import RunningServer

from para_attn_server.stores.migrate import ensure_schema
from para_attn_server.stores.sql import SqlStore

DUMP = Path(__file__).parents[1] / "data" / "jobs-0001.sql"
SUCCEEDED, NAMED = "264860ccd9ea47f3a0e6c3a48b1cb503", "e8414bbfe1444844a66a91bc39a1765d"
CANCELED, CANCELED_QUEUED = "163802e0f3ba4bab8ce12a34574a0f24", "9fc35a6a7b064f4e8f616fe7d4c9abec"
EXPIRED = "122d3a33fb6f4b0aa2abb65c2f127134"
RUNNING, QUEUED = "cb38480eee7c49c68a75fc86319a9e1b", "6166c6405f8f44c889f024ebe309a97f"
QUEUED_NAMED = "b37f6fa5fb234ee49584e855c25fe925"
STATUSES = {
    SUCCEEDED: "succeeded",
    NAMED: "succeeded",
    CANCELED: "canceled",
    EXPIRED: "failed",
    CANCELED_QUEUED: "canceled",
    RUNNING: "running",
    QUEUED: "queued",
    QUEUED_NAMED: "queued",
}


def restored(database: Path, outputs: Path) -> Path:
    """The dumped database as a file, its outputs in that folder."""
    database.parent.mkdir()
    with sqlite3.connect(database) as connection:
        connection.executescript(DUMP.read_text().replace("/outputs", str(outputs)))
    connection.close()
    return database


def test_an_older_database_keeps_every_job_as_it_was(tmp_path: Path) -> None:
    database = restored(tmp_path / "state" / "jobs.sqlite3", tmp_path / "outputs")
    ensure_schema(database)
    store = SqlStore.open(database, durable=False)
    try:
        jobs = {job_id: store.get(job_id) for job_id in STATUSES}
        assert {job_id: job and job.status.value for job_id, job in jobs.items()} == STATUSES
        named, expired, running = jobs[NAMED], jobs[EXPIRED], jobs[RUNNING]
        assert named and named.output and named.output.path == str(tmp_path / "outputs" / "named.png")
        assert named.output.sha256.startswith("3a2ab0647486faf6541aacaef36987ed519e36b157af4625b7b2d8caafe5f8cd")
        assert expired and expired.error and expired.error.type == "expired"
        assert running and (running.step, running.attempts, running.seed) == (1, 1, 5)
        of_queued = {"prompt": "a yellow ring", "seed": 6, "height": 128, "width": 128, "num_inference_steps": 20}
        assert store.arguments(QUEUED) == of_queued
        assert [event.type for event in store.events(CANCELED)][-1] == "canceled"
        assert [job.id for job in store.queued(10)] == [QUEUED, QUEUED_NAMED]
        counts = store.counts()
        assert (counts.queued, counts.running, counts.succeeded, counts.failed, counts.canceled) == (2, 1, 2, 1, 2)
    finally:
        store.close()


@pytest.mark.slow
def test_the_queue_of_an_older_version_is_done(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    restored(tmp_path / "state" / "jobs.sqlite3", tmp_path / "outputs")
    server = serve("demo", num_devices=1, keep="36500d")
    server.wait_ready()
    for job_id in (RUNNING, QUEUED, QUEUED_NAMED):
        assert server.result(job_id).status_code == 200
    assert (tmp_path / "outputs" / "later.png").stat().st_size
    again = server.post("/generate", json={"prompt": "a yellow ring", "seed": 6}, headers={"Idempotency-Key": "queued"})
    assert again.json()["request_id"] == QUEUED
    assert server.get(f"/request_status/{EXPIRED}").status_code == 500
    assert server.get(f"/request_status/{CANCELED}").status_code == 410
