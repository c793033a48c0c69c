"""Disks that are full or read-only, for real: a small file system of its own, mounted for the test.

Mounting needs root; where that is refused the tests are skipped, and say so.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from serving import RunningServer
from waiting import wait_until

Serve = Callable[..., RunningServer]


class Disk:
    """A mounted file system of 4 MiB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Leave not a byte."""
        with (self.folder / "filler").open("ab", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC

    def take(self, size: int) -> None:
        """Take that many bytes."""
        (self.folder / "filler").write_bytes(bytes(size))

    def free(self) -> None:
        (self.folder / "filler").unlink()

    def remount(self, mode: str) -> None:
        mount("-o", f"remount,{mode}", str(self.folder))


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield Disk(folder)
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def serve_on(disk: Disk, serve: Serve) -> Serve:
    """`serve`, ended before the disk is unmounted."""
    return serve


def pids(server: RunningServer) -> list[int]:
    return [server.rank_pid(0), server.rank_pid(1)]


def test_a_full_output_disk_fails_the_job_with_a_hint_and_keeps_the_group(
    disk: Disk, serve_on: Serve, counting_model: str
) -> None:
    server = serve_on(counting_model, output_dir=disk.folder, min_free=0)
    server.wait_ready()
    before = pids(server)
    kept = server.result(server.submit(seed=1)).json()
    running = server.submit(seed=2, steps=100, delay=0.02)
    server.wait_step(running, 2)
    queued = server.submit(seed=3)
    disk.fill()
    error = server.result(running).json()["error"]
    assert error["type"] == "output_unwritable"
    assert "No space left" in error["message"]
    assert "free some space" in error["hint"]
    wait_until(lambda: server.get("/readyz").status_code == 503, 10, "readyz to say so")
    assert "full" in server.get("/readyz").json()["detail"]
    assert server.status(queued)["status"] == "queued", "it would only fail"
    disk.free()
    wait_until(lambda: server.get("/readyz").status_code == 200, 10)
    assert server.result(queued).status_code == 200
    assert pids(server) == before
    assert len([path for path in disk.folder.rglob("*") if path.is_file()]) == 2, "nothing half-written is left"
    assert Path(kept["output_path"]).stat().st_size == kept["size"], "what was there is as it was"


def test_below_min_free_a_post_is_507_running_jobs_go_on_and_queued_ones_wait(
    disk: Disk, serve_on: Serve, counting_model: str
) -> None:
    server = serve_on(counting_model, output_dir=disk.folder, min_free="2MiB")
    server.wait_ready()
    running = server.submit(seed=1, steps=100, delay=0.02)
    server.wait_step(running, 2)
    queued = server.submit(seed=2)
    disk.take(5 * 2**19)
    refused = server.post("/generate", json={"seed": 3})
    body = refused.json()
    assert (refused.status_code, body["type"].rpartition(":")[2]) == (507, "insufficient-storage")
    assert 0 < body["free_bytes"] < body["wanted_bytes"] == 2 * 2**20
    assert str(body["free_bytes"]) in body["detail"] and "Retry-After" in refused.headers
    assert server.result(running).status_code == 200
    wait_until(lambda: server.get("/readyz").status_code == 503, 10, "readyz to say so")
    reason = server.get("/readyz").json()["detail"]
    assert "--min-free" in reason and server.get("/server_status").json()["trouble"] == reason
    assert server.status(queued)["status"] == "queued"
    disk.free()
    assert server.result(server.submit(seed=3)).status_code == 200, "at once, without a look of the controller"
    assert server.result(queued).status_code == 200
    assert server.get("/readyz").status_code == 200
    assert len(server.records("new jobs would fail")) == 1


@pytest.mark.slow
def test_an_output_disk_that_turns_read_only_fails_the_job_and_keeps_the_group(
    disk: Disk, serve_on: Serve, counting_model: str
) -> None:
    server = serve_on(counting_model, output_dir=disk.folder, min_free=0)
    server.wait_ready()
    before = pids(server)
    disk.remount("ro")
    error = server.result(server.submit(seed=1)).json()["error"]
    assert error["type"] == "output_unwritable"
    assert "read-only" in error["hint"]
    wait_until(lambda: server.get("/readyz").status_code == 503, 10)
    disk.remount("rw")
    assert server.result(server.submit(seed=2)).status_code == 200
    assert pids(server) == before


def test_a_full_state_disk_refuses_new_jobs_and_loses_none(disk: Disk, serve_on: Serve, counting_model: str) -> None:
    server = serve_on(counting_model, state_dir=disk.folder / "state")
    server.wait_ready()
    accepted = [server.submit(steps=60, delay=0.02, seed=1)]
    server.wait_step(accepted[0], 2)
    disk.fill()
    refused = None
    for seed in range(2, 2000):  # the log of the database has some room of its own
        answer = server.post("/generate", json={"seed": seed, "text": "x" * 5000})
        if answer.status_code != 202:
            refused = answer
            break
        accepted.append(answer.json()["request_id"])
    assert refused is not None
    assert refused.status_code == 503
    assert refused.json()["type"].endswith("store-unusable")
    assert "Retry-After" in refused.headers
    assert server.get("/healthz").status_code == 200
    assert server.get("/readyz").status_code == 503
    wait_until(lambda: server.get("/server_status").json()["trouble"], 10)
    reason = "the disk of the state directory is full: free some space"
    assert server.get("/server_status").json()["trouble"] == server.get("/readyz").json()["detail"] == reason
    assert len([record for record in server.records("new jobs would fail") if record["reason"] == reason]) == 1
    disk.free()
    wait_until(lambda: server.get("/readyz").status_code == 200, 10)
    assert server.result(server.submit(seed=0)).status_code == 200
    for job_id in accepted:
        assert server.result(job_id).status_code == 200
        assert server.status(job_id)["attempts"] == 1


def test_a_state_disk_that_is_full_or_read_only_at_the_start_is_said(
    disk: Disk, serve_on: Serve, counting_model: str
) -> None:
    disk.fill()
    server = serve_on(counting_model, state_dir=disk.folder / "state")
    assert server.process.wait(30) == 5
    assert "No space left on device" in server.log()
    assert "choose another --state-dir" in server.log()
    disk.remount("ro")
    server = serve_on(counting_model, state_dir=disk.folder / "elsewhere")
    assert server.process.wait(30) == 5
    assert "Traceback" not in server.log()
    assert "Read-only file system" in server.log()


def test_an_output_folder_that_cannot_be_written_to_is_said_at_the_start(
    disk: Disk, serve_on: Serve, counting_model: str
) -> None:
    disk.remount("ro")
    server = serve_on(counting_model, output_dir=disk.folder)
    wait_until(lambda: server.process.poll() is not None, 30)
    assert server.process.returncode == 2
    assert "output_dir" in server.log()
    assert "choose another --output-dir" in server.log()
    assert not os.access(disk.folder, os.W_OK)
