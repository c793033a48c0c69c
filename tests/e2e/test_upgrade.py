"""A state directory that an older version has left behind goes on: nothing in it is lost, its queue is done.

tests/data/jobs-0001.sql is a dump of a real server's database. `/outputs` in it stands for the output folder.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from serving import RunningServer

from para_attn_server.core.errors import IdempotencyConflict
from para_attn_server.core.job import ANONYMOUS, NATIVE, JobStatus, NewJob, Output, Priority
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

DIGESTS = {
    "first": "046f72b4a0ca20c5c8a52f25a71bacb525bad956c61201abed25c7bd794478b9",
    "running": "392fcef35cc8256dadf8ea1caa9aacaf9d896413b04a356cf5754e833694b02c",
    "queued": "7b3eeee9bbf469b830a710082f7108ac36aa10f6aac827f8817e877a327f6fda",
}
"""By key: of the requests that had them."""


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
        assert (running.run, running.controller, running.outputs) == (1, None, ())
        for job in jobs.values():
            assert job and (job.owner, job.api, job.priority) == (ANONYMOUS, NATIVE, Priority.NORMAL)
            assert (job.model, job.target, job.metadata, job.applied, job.timings) == (None, None, None, None, None)
            assert len(job.outputs) == (job.status is JobStatus.SUCCEEDED)
        of_queued = {"prompt": "a yellow ring", "seed": 6, "height": 128, "width": 128, "num_inference_steps": 20}
        assert store.arguments(QUEUED) == of_queued
        assert [event.type for event in store.events(CANCELED)][-1] == "canceled"
        assert [job.id for job in store.queued(10)] == [QUEUED, QUEUED_NAMED]
        counts = store.counts()
        assert (counts.queued, counts.running, counts.succeeded, counts.failed, counts.canceled) == (2, 1, 2, 1, 2)
    finally:
        store.close()


def test_the_keys_of_an_older_version_still_name_their_jobs(tmp_path: Path) -> None:
    database = restored(tmp_path / "state" / "jobs.sqlite3", tmp_path / "outputs")
    ensure_schema(database)
    store = SqlStore.open(database, durable=True)
    try:
        assert store.by_key(ANONYMOUS, "queued", DIGESTS["queued"]) == store.get(QUEUED)
        for key, job_id in (("first", SUCCEEDED), ("running", RUNNING)):
            again = NewJob({}, "/outputs/a.png", idempotency_key=key, request_digest=DIGESTS[key])
            assert store.insert(again, 0, 1.0) == store.get(job_id)
        with pytest.raises(IdempotencyConflict):
            store.by_key(ANONYMOUS, "first", DIGESTS["queued"])
    finally:
        store.close()


def test_outputs_of_an_older_version_whose_path_or_inode_is_odd_are_kept(tmp_path: Path) -> None:
    database = restored(tmp_path / "state" / "jobs.sqlite3", tmp_path / "outputs")
    odd = {"path": "/outputs/\udcff.png", "media_type": "image/png", "size": 3, "sha256": "ab", "inode": 2**64 - 5}
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE jobs SET output = ? WHERE id = ?", (json.dumps(odd), NAMED))
        connection.execute("UPDATE jobs SET output = 'null' WHERE id = ?", (CANCELED,))
    connection.close()
    ensure_schema(database)
    store = SqlStore.open(database, durable=True)
    try:
        found, canceled = store.get(NAMED), store.get(CANCELED)
        assert found and found.output == Output(**odd) and canceled and canceled.outputs == ()  # type: ignore[arg-type]
    finally:
        store.close()


@pytest.mark.slow
def test_the_queue_of_an_older_version_is_done(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    restored(tmp_path / "state" / "jobs.sqlite3", tmp_path / "outputs")
    server = serve("demo", num_devices=1, keep="36500d")
    server.wait_ready()
    for job_id in (RUNNING, QUEUED, QUEUED_NAMED):
        assert server.result(job_id).status_code == 200, server.get("/server_status").text
    assert (tmp_path / "outputs" / "later.png").stat().st_size
    again = server.post("/generate", json={"prompt": "a yellow ring", "seed": 6}, headers={"Idempotency-Key": "queued"})
    assert again.json()["request_id"] == QUEUED
    assert server.get(f"/request_status/{EXPIRED}").status_code == 500
    assert server.get(f"/request_status/{CANCELED}").status_code == 410
