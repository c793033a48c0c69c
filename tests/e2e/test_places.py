"""Paths that are removed while a server runs: what is needed later is made again, and what cannot be is said."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from serving import COUNTING, RunningServer, shared_server
from waiting import wait_until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("places")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    yield from shared_server(COUNTING, folder)


def status_of(server: RunningServer) -> int:
    return server.get("/readyz").status_code


def answers(server: RunningServer) -> bool:
    try:
        return status_of(server) == 200
    except httpx.TransportError:  # on a connection to the one that was killed
        return False


def ready_again(server: RunningServer) -> None:
    wait_until(lambda: status_of(server) == 200, 10, server.log())


def succeeds(server: RunningServer) -> None:
    assert server.result(server.submit(seed=1)).status_code == 200


def test_an_output_root_that_is_removed_is_made_anew(server: RunningServer, folder: Path) -> None:
    shutil.rmtree(folder / "outputs")
    job_id = server.submit(seed=1)  # at once: the web worker makes it anew
    assert server.result(job_id).status_code == 200
    assert [path.name for path in (folder / "outputs").rglob("*.*")] == [f"{job_id}.txt"]


def test_where_it_cannot_be_made_no_job_is_taken_or_started_and_none_is_lost(
    server: RunningServer, folder: Path
) -> None:
    running = server.submit(steps=5000, delay=0.01)
    server.wait_step(running, 2)
    queued = server.submit(seed=2)
    shutil.rmtree(folder / "outputs")
    (folder / "outputs").touch()
    refused = server.post("/generate", json={"seed": 3})
    assert (refused.status_code, refused.json()["type"].rpartition(":")[2]) == (503, "not-accepting")
    assert "output root" in refused.json()["detail"]
    wait_until(lambda: status_of(server) == 503, 10)
    assert "output root" in server.get("/server_status").json()["trouble"]
    assert server.post(f"/cancel/{running}").status_code == 200
    assert server.get("/server_status").json()["queue"]["queued"] == 1, "it would only fail"
    (folder / "outputs").unlink()
    ready_again(server)
    assert server.result(queued).status_code == 200
    assert server.records("new jobs would fail") and server.records("the output root was missing; recreated it")


def test_a_state_directory_that_is_removed_is_made_anew_with_its_jobs(server: RunningServer, folder: Path) -> None:
    kept = server.submit(seed=1)
    assert server.result(kept).status_code == 200
    running = server.submit(steps=60, delay=0.02)
    server.wait_step(running, 2)
    shutil.rmtree(folder / "state")
    state = folder / "state"
    wait_until(lambda: {"jobs.sqlite3", "control.sock", "lock", "run"} <= {path.name for path in state.glob("*")}, 10)
    ready_again(server)
    assert server.result(running).status_code == 200
    assert server.status(kept)["status"] == "succeeded"
    with sqlite3.connect(f"file:{state / 'jobs.sqlite3'}?mode=ro", uri=True) as connection:
        known = {job_id for (job_id,) in connection.execute("SELECT id FROM jobs")}
    assert {kept, running} <= known
    succeeds(server)
    assert server.process.poll() is None


def test_groups_heal_though_the_forkservers_socket_is_gone(server: RunningServer, folder: Path) -> None:
    shutil.rmtree(folder / "state" / "run")
    before = server.rank_pid(0)
    psutil.Process(before).kill()
    wait_until(lambda: server.group()["state"] == "ready" and server.rank_pid(0) != before, 60, server.log())
    succeeds(server)


def test_web_workers_come_back_though_the_control_socket_is_gone(server: RunningServer, folder: Path) -> None:
    (folder / "state" / "control.sock").unlink()
    wait_until((folder / "state" / "control.sock").exists, 10)
    before = server.processes()["web worker"]
    before.kill()
    wait_until(lambda: server.processes().get("web worker") not in (None, before), 20)
    wait_until(lambda: answers(server), 20)
    job_id = server.submit(steps=1000, delay=0.02)
    server.wait_step(job_id, 2)
    assert server.post(f"/cancel/{job_id}").status_code == 200


def test_a_second_server_is_refused_though_the_lock_was_removed(
    server: RunningServer, folder: Path, serve: Callable[..., RunningServer]
) -> None:
    (folder / "state" / "lock").unlink()
    wait_until((folder / "state" / "lock").exists, 10)
    second = serve(COUNTING, state_dir=folder / "state")
    assert second.process.wait(30) == 5
    assert f"process {server.process.pid}" in second.log()


@pytest.mark.slow
def test_a_damaged_log_is_kept_and_said_at_the_next_start(
    serve: Callable[..., RunningServer], counting_model: str, tmp_path: Path
) -> None:
    first = serve(counting_model, shutdown_timeout="0s")
    first.wait_ready()
    jobs = [first.submit(seed=number, steps=100000, delay=0.01) for number in range(5)]
    for process in first.processes().values():
        process.suspend()
    log = tmp_path / "state" / "jobs.sqlite3-wal"
    content = bytearray(log.read_bytes())
    first.kill()
    content[32 + (len(content) - 32) // 2 // 4120 * 4120 + 2000] ^= 1
    log.write_bytes(content)
    second = serve(counting_model, shutdown_timeout="0s")
    second.wait_ready()
    (notice,) = second.get("/server_status").json()["notices"]
    (kept,) = (tmp_path / "state").glob("jobs.sqlite3-wal.damaged-*")
    assert kept.name in notice and kept.read_bytes() == content
    (record,) = second.records("the queue's write-ahead log is damaged; what it held is lost")
    assert record["transactions"] > 0
    assert [second.get(f"/request_status/{job_id}").status_code for job_id in jobs].count(404) > 0


@pytest.mark.slow
def test_a_working_folder_that_is_removed_is_left(tmp_path: Path) -> None:
    (tmp_path / "release").mkdir()
    for server in shared_server(COUNTING, tmp_path, cwd=tmp_path / "release"):
        (tmp_path / "release").rmdir()
        for process in (server.rank_pid(0), server.processes()["forkserver"].pid):
            os.kill(process, signal.SIGKILL)
            wait_until(lambda gone=process: not psutil.pid_exists(gone), 10)
            succeeds(server)
        assert len(server.records("the working folder was removed; ranks start in / from now on")) == 1
