"""Fifty random kills under load: the client's ledger must come out even.

Every accepted job ends `succeeded`, with one output that is what its seed makes of it; none is lost, none is done twice
with different results. Killed at random, alone and all together: parent, gunicorn's master, web worker, forkserver, and
the agent where the ranks are below one.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest
from agents import SECRET, RunningAgent
from serving import RunningServer
from waiting import wait_until

from para_attn_server import Client
from para_attn_server.client import ClientError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

KILLS = 50
VICTIMS = ("controller", "gunicorn master", "web worker", "forkserver", "all")


class Load(threading.Thread):
    """Submits jobs until told to stop, and keeps the ledger of those that were accepted."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.ledger, self.stop = url, {}, threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            with Client(self.url, timeout=5, retry_for=60) as client:
                try:
                    job_id = client.submit(seed=number, steps=10, delay=0.01, text=str(number))
                except ClientError:
                    continue  # never accepted: nothing to account for
            self.ledger[job_id] = number
            self.stop.wait(0.15)


def answers(server: RunningServer) -> bool:
    try:
        return server.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(params=["local", "agent"])
def agent(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningAgent | None]:
    """What the ranks are below, if not below the controller."""
    if request.param == "local":
        yield None
        return
    monkeypatch.setenv("PARA_ATTN_AGENT_SECRET", SECRET)
    agent = RunningAgent(tmp_path)
    yield agent
    agent.close()


def processes(server: RunningServer, agent: RunningAgent | None) -> dict[str, psutil.Process]:
    alive = server.processes()
    if agent is not None:
        alive["agent"] = psutil.Process(agent.process.pid)
        if (forkserver := agent.forkserver()) is not None:
            alive["forkserver"] = forkserver
    return alive


def test_fifty_kills_lose_nothing_and_double_nothing(
    serve: Callable[..., RunningServer], counting_model: str, agent: RunningAgent | None
) -> None:
    rng = random.Random(7)
    settings = {"max_queue": 100000, "executor": "local" if agent is None else agent.url}
    victims = VICTIMS if agent is None else (*VICTIMS, "agent")
    server = serve(counting_model, **settings)
    server.wait_ready()
    settings["port"] = server.url.rsplit(":", 1)[1]
    load = Load(server.url)
    load.start()
    try:
        for _ in range(KILLS):
            victim = rng.choice(victims)
            ends = time.monotonic() + rng.uniform(0.2, 1.5)
            wait_until(lambda ends=ends: time.monotonic() > ends, 5)
            alive = processes(server, agent)
            targets = list(alive.values()) if victim == "all" else [alive[victim]] if victim in alive else []
            for target in targets:
                target.kill()
            if agent is not None and victim in ("agent", "all"):
                agent.process.wait(10)
                agent.start()
            if victim in ("controller", "all"):
                server.process.wait(10)
                server = serve(counting_model, **settings)
            wait_until(partial(answers, server), 60, f"the server after the death of {victim}")
    finally:
        load.stop.set()
        load.join(90)
    assert len(load.ledger) > KILLS
    expected: dict[str, str] = {}
    for job_id, number in load.ledger.items():
        result = server.result(job_id, wait=60)
        assert result.status_code == 200, (job_id, result.text)
        content = Path(result.json()["output_path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == result.json()["sha256"]
        assert content.split()[0] == str(number).encode()
        expected[str(number)] = result.json()["sha256"]
    queue = server.get("/server_status").json()["queue"]
    assert queue["failed"] == queue["canceled"] == 0
    assert queue["succeeded"] == len(load.ledger), "a job that nobody knows of was made"
    again = server.result(server.submit(seed=1, steps=10, delay=0.0, text="1")).json()
    assert again["sha256"] == expected["1"], "the same arguments give the same output"
