"""Real servers whose queue is in PostgreSQL: its password, its death and its silence, and a second server."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest
from load import Load, is_ready
from postgres import LOCKED_OUT, PASSWORD, RunningPostgres
from serving import RunningServer
from waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
Serve = Callable[..., RunningServer]

KILLS = 24
VICTIMS = ("controller", "postgres", "both", "web worker")
SILENT = 30.0
"""Seconds for which PostgreSQL is stopped."""


@pytest.fixture
def url(postgres: RunningPostgres, postgres_database: str) -> str:
    return postgres.url(postgres_database)


def test_a_password_is_seen_by_nobody(
    postgres: RunningPostgres, postgres_database: str, serve: Serve, counting_model: str
) -> None:
    with postgres.connect(postgres_database) as admin:
        admin.execute(f"CREATE ROLE {LOCKED_OUT} LOGIN PASSWORD '{PASSWORD}'")
        admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {LOCKED_OUT}")
        admin.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {LOCKED_OUT}")
    secret = PASSWORD.replace("@", "%40")
    url = f"postgresql://{LOCKED_OUT}:{secret}@127.0.0.1:{postgres.port}/{postgres_database}"
    server = serve(counting_model, store=url, log_level="debug")
    server.wait_ready()
    job_id = server.submit(seed=1)
    assert server.result(job_id).status_code == 200
    everybody = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    shown = [" ".join(process.cmdline()) for process in everybody]
    assert len(shown) >= 5
    ranks = [" ".join(psutil.Process(server.rank_pid(rank)).environ().values()) for rank in (0, 1)]
    postgres.kill()
    assert server.post("/generate", json={"seed": 2}).status_code == 503
    unknown = server.get("/request_status/abc")
    postgres.start()
    for text in (server.log(), unknown.text, *shown, *ranks):
        assert PASSWORD not in text and secret not in text
    assert server.terminate() == 0
    with postgres.connect(postgres_database) as admin:
        admin.execute(f"DROP OWNED BY {LOCKED_OUT}; DROP ROLE {LOCKED_OUT}")


def test_a_second_server_on_the_same_database_is_refused(
    url: str, serve: Serve, counting_model: str, tmp_path: Path
) -> None:
    first = serve(counting_model, store=url)
    first.wait_ready()
    second = serve(counting_model, store=url, state_dir=tmp_path / "second")
    assert second.process.wait(60) == 5
    assert "is in use by another server (para-attn-server controller" in second.log()
    first.kill()
    third = serve(counting_model, store=url, state_dir=tmp_path / "third")
    third.wait_ready()
    assert third.result(third.submit(seed=1)).status_code == 200


def test_a_schema_is_not_touched_without_leave(postgres: RunningPostgres, serve: Serve, counting_model: str) -> None:
    name = postgres.new_database()
    server = serve(counting_model, store=postgres.url(name), no_migrate=True)
    assert server.process.wait(60) == 5
    assert "para-attn-server db upgrade" in server.log()
    postgres.drop(name)


def test_while_postgres_is_silent_jobs_go_on_and_nothing_is_lost(
    postgres: RunningPostgres, url: str, serve: Serve, counting_model: str
) -> None:
    server = serve(counting_model, store=url)
    server.wait_ready()
    ended = server.submit(seed=0)
    assert server.result(ended).status_code == 200
    running, queued = server.submit(steps=150, delay=0.05, seed=1), server.submit(seed=2)
    server.wait_step(running, 3)
    refused: list[httpx.Response] = []
    with postgres.stopped():
        until = time.monotonic() + SILENT
        while time.monotonic() < until:
            began = time.monotonic()
            refused += [server.post("/generate", json={"seed": 3}), server.get("/request_status/abc")]
            assert time.monotonic() - began < 20
            assert server.get("/healthz").status_code == 200
            assert server.status(running)["status"] in ("running", "succeeded")
        assert server.status(running)["step"] > 100, "its ranks have gone on"
    assert len(refused) >= 6
    for response in refused:
        assert response.status_code == 503 and int(response.headers["Retry-After"]) > 0, response.text
    for job_id in (running, queued):
        result = server.result(job_id)
        assert (result.status_code, result.json()["attempts"]) == (200, 1), result.text
    for path in (f"/request_status/{ended}", f"/get_output/{ended}", "/server_status", "/readyz"):
        wait_until(lambda path=path: server.get(path).status_code == 200, 10, path)
    assert server.get("/request_status/abc").status_code == 404
    assert server.result(server.submit(seed=4)).status_code == 200
    assert server.get("/server_status").json()["queue"]["succeeded"] == 4
    assert server.terminate() == 0


def test_kills_of_postgres_and_of_the_controller_lose_nothing_and_double_nothing(
    postgres: RunningPostgres, postgres_database: str, url: str, serve: Serve, counting_model: str
) -> None:
    rng = random.Random(11)
    settings = {"max_queue": 100000, "store": url}
    server = serve(counting_model, **settings)
    server.wait_ready()
    settings["port"] = server.url.rsplit(":", 1)[1]
    load = Load(server.url, delay=0.02, pause=0.1, timeout=10, retry_for=90)
    load.start()
    try:
        for number in range(KILLS):
            victim = VICTIMS[number % len(VICTIMS)]
            ends = time.monotonic() + rng.uniform(0.2, 2.0)
            wait_until(lambda ends=ends: time.monotonic() > ends, 5)
            if victim in ("postgres", "both"):
                postgres.kill()
            if victim in ("controller", "both"):
                server.kill()
            if victim == "web worker" and victim in (alive := server.processes()):
                alive[victim].kill()
            if victim in ("postgres", "both"):
                postgres.start()
            if victim in ("controller", "both"):
                server = serve(counting_model, **settings)
            wait_until(partial(is_ready, server), 90, f"the server after the death of {victim}: {server.log()[-3000:]}")
    finally:
        load.stop.set()
        load.join(120)
    assert len(load.ledger) > KILLS
    load.check(server)
    assert server.get("/server_status").json()["queue"]["queued"] == 0
    with postgres.connect(postgres_database) as admin:
        ends = admin.execute(
            "SELECT count(*), count(DISTINCT job_id) FROM events WHERE type IN ('succeeded', 'failed', 'canceled')"
        ).fetchone()
        assert ends == (len(load.ledger), len(load.ledger)), "a job has ended twice"
