"""A process that is stopped (SIGSTOP) is found by its missing signs of life; nobody's job pays for it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from serving import RunningServer
from waiting import wait_until

pytestmark = pytest.mark.slow

FOUND = 20.0
"""Seconds in which a stopped process is found and another is in its place, on a busy machine."""


@pytest.fixture
def server(serve: Callable[..., RunningServer], counting_model: str) -> RunningServer:
    server = serve(counting_model)
    server.wait_ready()
    wait_until(lambda: server.group()["state"] == "ready", 60)
    return server


def answers(server: RunningServer, path: str) -> bool:
    try:
        return httpx.get(server.url + path, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_stopped_controller_is_not_ready_within_five_seconds_and_loses_no_job(server: RunningServer) -> None:
    os.kill(server.process.pid, signal.SIGSTOP)
    wait_until(lambda: server.get("/readyz").status_code == 503, 5)
    assert server.get("/server_status").json()["type"].endswith("pool-down")
    job_id = server.submit(seed=1)
    os.kill(server.process.pid, signal.SIGCONT)
    wait_until(lambda: server.get("/readyz").status_code == 200, 5)
    result = server.result(job_id).json()
    assert (result["status"], result["attempts"]) == ("succeeded", 1)
    assert not server.records("rank died") and not server.records("a web worker shows no sign of life; killing it")


def test_a_stopped_gunicorn_master_is_replaced(server: RunningServer) -> None:
    processes = server.processes()
    os.kill(processes["gunicorn master"].pid, signal.SIGSTOP)
    processes["web worker"].kill()
    wait_until(lambda: server.records("the web server shows no sign of life; killing it"), FOUND)
    wait_until(lambda: answers(server, "/readyz"), FOUND)
    assert server.result(server.submit(seed=1)).status_code == 200


def test_a_stopped_web_worker_is_replaced(server: RunningServer) -> None:
    os.kill(server.processes()["web worker"].pid, signal.SIGSTOP)
    wait_until(lambda: server.records("a web worker shows no sign of life; killing it"), FOUND)
    wait_until(lambda: answers(server, "/readyz"), FOUND)


@pytest.mark.parametrize("while_it_is_needed", [True, False])
def test_a_stopped_forkserver_is_replaced_and_costs_no_attempt(server: RunningServer, while_it_is_needed: bool) -> None:
    os.kill(server.processes()["forkserver"].pid, signal.SIGSTOP)
    if while_it_is_needed:
        os.kill(server.rank_pid(0), signal.SIGKILL)
        wait_until(lambda: server.group()["state"] != "ready", 10)  # or the job is given to the dead rank's group
    job_id = server.submit(seed=1)
    wait_until(lambda: server.records("the forkserver shows no sign of life; killing it"), FOUND)
    result = server.result(job_id).json()
    assert (result["status"], result["attempts"]) == ("succeeded", 1)
    wait_until(lambda: server.group()["state"] == "ready", 60)


def test_a_stopped_idle_rank_costs_its_group_and_no_attempt(server: RunningServer) -> None:
    stopped = server.rank_pid(1)
    os.kill(stopped, signal.SIGSTOP)
    wait_until(lambda: server.group()["state"] != "ready", 12)
    wait_until(lambda: server.group()["state"] == "ready", 60)
    assert not psutil.pid_exists(stopped) and server.rank_pid(1) != stopped
    result = server.result(server.submit(seed=1)).json()
    assert (result["status"], result["attempts"]) == ("succeeded", 1)


SLOW_ONCE = """
import pathlib, time
import para_attn_server as server

class SlowOnce(server.Predictor):
    def setup(self):
        first = pathlib.Path({first!r})
        if not first.exists():
            first.touch()
            time.sleep(300)

    def predict(self, output_path: str):
        pathlib.Path(output_path).write_text("x")
"""


def test_a_rank_that_is_stopped_in_its_setup_is_replaced(serve: Callable[..., RunningServer], tmp_path: Path) -> None:
    first, model = tmp_path / "first", tmp_path / "slow.py"
    model.write_text(SLOW_ONCE.format(first=str(first)))
    server = serve(f"{model}:SlowOnce", num_devices=1)
    wait_until(first.exists, 60)
    (rank,) = server.processes()["forkserver"].children()
    os.kill(rank.pid, signal.SIGSTOP)
    wait_until(lambda: server.group()["state"] == "ready", 2 * FOUND)
    assert not psutil.pid_exists(rank.pid)


def test_a_busy_machine_makes_no_process_look_stopped(server: RunningServer) -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(8)]
    try:
        jobs = [server.submit(seed=seed, steps=3) for seed in range(100)]
        results = [server.result(job_id).json() for job_id in jobs]
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert [(result["status"], result["attempts"]) for result in results] == [("succeeded", 1)] * len(jobs)
    assert "no sign of life" not in server.log() and not server.records("worker group is rebuilt")


def test_the_service_manager_is_told_of_start_life_and_end(
    serve: Callable[..., RunningServer], counting_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        server = serve(counting_model)
        server.wait_ready()
        assert [manager.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        assert server.terminate() == 0
        told = iter(lambda: manager.recv(100), b"STOPPING=1")
        assert set(told) <= {b"WATCHDOG=1"}
