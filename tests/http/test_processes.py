"""The web as processes: many waiters, a killed worker, an orderly stop, and no orphan after any death."""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from waiting import wait_until
from web import PROBLEM_JSON, Web

from para_attn_server.core.process import raise_descriptor_limit

WAITERS = 200
LATER, GONE = b"HTTP/1.1 202", b"HTTP/1.1 410"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def raw_get(port: int, path: str) -> socket.socket:
    """A GET on its way."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.settimeout(30)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    return connection


def read_all(connection: socket.socket) -> tuple[int, dict[str, object]]:
    """Status and JSON body of an answer."""
    data = read_whole(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Web]:
    """A web of one's own."""
    web = Web(tmp_path)
    yield web
    web.close()


def test_two_hundred_waiters_keep_nobody_from_asking(web: Web) -> None:
    job_id = web.started()
    waiters = [raw_get(web.port, f"/get_output/{job_id}?wait=60") for _ in range(WAITERS)]
    times = []
    for step in range(100):
        web.controller.step(job_id, step, 100)
        began = time.perf_counter()
        assert web.get(f"/request_status/{job_id}").status_code == 202
        times.append(time.perf_counter() - began)
    assert statistics.median(times) < 0.05
    web.controller.succeed(job_id)
    answers = [read_all(waiter) for waiter in waiters]
    assert {status for status, _ in answers} == {200}
    assert {body["request_id"] for _, body in answers} == {job_id}


@pytest.mark.parametrize("connections", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_as_many_waiters_as_connections_leave_room_for_a_cancel(tmp_path: Path, connections: int) -> None:
    raise_descriptor_limit(2 * connections + 256)
    web = Web(tmp_path, web_connections=connections)
    clients: list[socket.socket] = []
    try:
        job_id = web.started()
        web.client.close()  # its idle connection is one of them
        for _ in range(connections):
            clients.append(socket.create_connection(("127.0.0.1", web.port), timeout=30))
            clients[-1].sendall(f"GET /request_status/{job_id}?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        here = f"http://127.0.0.1:{web.port}"
        httpx.get(f"{here}/healthz", timeout=30)  # behind all that have come at once; from here on they wait
        for path, seconds in (("/healthz", 1), ("/server_status", 1), (f"/cancel/{job_id}", 2)):
            began = time.monotonic()
            answer = httpx.request("POST" if "cancel" in path else "GET", f"{here}{path}")
            assert answer.status_code == 200 and time.monotonic() - began < seconds
        answers = [client.recv(1 << 16) for client in clients]
        statuses = {status: sum(answer.startswith(status) for answer in answers) for status in (LATER, GONE)}
        assert statuses == {LATER: 2 * (connections // 10), GONE: connections - 2 * (connections // 10)}
    finally:
        for client in clients:
            client.close()
        web.close()


def test_what_is_no_http_is_told_so_in_the_same_form(web: Web) -> None:
    for garbage in (b"GET / HTTP/9.9\r\n\r\n", b"G\x00T / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n bad\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", web.port)) as connection:
            connection.settimeout(10)
            connection.sendall(garbage)
            data = b""
            while block := connection.recv(1 << 16):
                data += block
        head, _, body = data.partition(b"\r\n\r\n")
        assert PROBLEM_JSON.encode() in head
        assert json.loads(body)["status"] == int(head.split()[1]) == 400


def test_a_killed_worker_is_replaced_and_jobs_stay(own: Web) -> None:
    job_id = own.started()
    (before,) = own.workers()
    before.kill()
    after = wait_until(lambda: [w for w in own.workers() if w.pid != before.pid], 10)
    assert after
    own.client.close()
    own.client = httpx.Client(base_url=f"http://127.0.0.1:{own.port}", timeout=30)
    assert own.get(f"/request_status/{job_id}").json()["status"] == "running"
    wait_until(lambda: own.controller.links == 1, 10)
    own.controller.succeed(job_id)
    assert own.get(f"/get_output/{job_id}").status_code == 200


def test_several_workers_share_the_port(tmp_path: Path) -> None:
    web = Web(tmp_path, web_workers=2)
    try:
        assert len(web.workers()) == 2
        job_id = web.started()
        waiters = [raw_get(web.port, f"/get_output/{job_id}?wait=30") for _ in range(20)]
        web.controller.succeed(job_id)
        assert {read_all(waiter)[0] for waiter in waiters} == {200}
    finally:
        web.close()


def test_sigterm_answers_whoever_waits_and_ends(own: Web) -> None:
    job_id = own.started()
    waiters = [raw_get(own.port, f"/request_status/{job_id}?wait=60") for _ in range(5)]
    wait_until(lambda: len(psutil.Process(own.workers()[0].pid).net_connections()) >= 5, 5)
    own.get("/healthz")  # and the idle connection that this leaves open holds nothing up
    began = time.monotonic()
    own.process.terminate()
    assert own.process.wait(10) == 0
    assert time.monotonic() - began < 2.5
    answers = [read_all(waiter) for waiter in waiters]
    assert {(status, body["status"]) for status, body in answers} == {(202, "running")}
    assert "Traceback" not in own.log()


def test_every_request_across_a_stop_is_answered(own: Web) -> None:
    """50 of each kind: on connections that nobody has accepted, on kept ones, half sent before the stop, waiting."""
    job_id = own.started()
    groups = [[socket.create_connection(("127.0.0.1", own.port), timeout=30) for _ in range(50)] for _ in range(3)]
    kept, halves, waiting = groups
    for client in kept:
        client.sendall(HEALTH)
        data = b""
        while not data.endswith(b"}\n"):
            data += client.recv(1 << 16)
    for client in halves:
        client.sendall(HEALTH[:20])
    for client in waiting:
        client.sendall(f"GET /request_status/{job_id}?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    (worker,) = own.workers()
    wait_until(lambda: len(worker.net_connections()) > 150, 10, "all to be accepted")
    worker.suspend()
    new = [socket.create_connection(("127.0.0.1", own.port), timeout=30) for _ in range(50)]
    for client in (*new, *kept):
        client.sendall(HEALTH)
    own.process.terminate()
    worker.resume()
    for client in halves:
        client.sendall(HEALTH[20:])
    answers = [read_whole(client) for client in (*new, *kept, *halves)]
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * 150
    waited = [read_whole(client) for client in waiting]
    assert all(answer.startswith(LATER) and b"\r\nConnection: close\r\n" in answer for answer in waited)
    assert all(answer.endswith(b"}\n") for answer in (*answers, *waited)) and own.process.wait(10) == 0


def read_whole(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    with connection:
        data = b""
        while block := connection.recv(1 << 16):
            data += block
    return data


def test_the_log_has_no_line_per_request_and_none_of_gunicorns_chatter(own: Web) -> None:
    for _ in range(20):
        own.get("/healthz")
        own.get("/nope")
    assert own.log() == ""


def test_the_store_is_imported_in_the_master_whose_memory_the_workers_share() -> None:
    program = (
        "import sys; from pathlib import Path; from types import SimpleNamespace\n"
        "from para_attn_server.http.server import gunicorn_app as app\n"
        "imported = lambda: 'para_attn_server.stores.sql' in sys.modules\n"
        "app.GunicornApp = lambda *_: None\n"
        "app.Master = lambda *_: SimpleNamespace(run=lambda: print(imported()))\n"
        "app.serve(SimpleNamespace(job_store=Path('jobs.sqlite3')), 3)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize("victim", ["launcher", "master"])
def test_no_process_outlives_a_killed_controller(own: Web, victim: str) -> None:
    listener = own.listener.fileno()
    script = (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-m', 'para_attn_server.http', '{listener}', str(os.getpid())],"
        f" pass_fds=[{listener}], process_group=0)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    environment = own.settings.as_environment(os.environ)
    launcher = subprocess.Popen(
        [sys.executable, "-c", script], pass_fds=[listener], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert launcher.stdout is not None
        master = psutil.Process(int(launcher.stdout.readline()))
        workers = wait_until(lambda: master.children(), 15)
        wait_until(lambda: own.controller.links == 2, 15)
        workers[0].send_signal(signal.SIGSTOP)  # even one that runs no code of its own
        (launcher if victim == "launcher" else master).kill()
        wait_until(lambda: not any(alive(process) for process in (master, *workers)), 5)
    finally:
        launcher.kill()
        launcher.communicate()


def alive(process: psutil.Process) -> bool:
    """Whether it runs; a zombie does not."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
