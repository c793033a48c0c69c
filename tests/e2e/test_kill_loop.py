"""Fifty random kills under load: the client's ledger must come out even.

Every accepted job ends `succeeded`, with one output that is what its seed makes of it; none is lost, none is done twice
with different results. Killed at random, alone and all together: parent, gunicorn's master, web worker, forkserver, and
the agent where the ranks are below one; ranks where there are two models, each of which does its own jobs alone.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from agents import SECRET, RunningAgent
from load import Load, is_ready
from serving import RunningServer
from waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

KILLS = 50
VICTIMS = ("controller", "gunicorn master", "web worker", "forkserver", "all")


MARKING = Path(__file__).parents[1] / "predictors" / "marking.py"
TWO_MODELS = "".join(
    f'[models.{name}]\nmodel = "{MARKING}:{kind}Predictor"\nset = {{ mark = "{name}" }}\n'
    "num_devices = 1\nnum_groups = 2\n"
    for name, kind in (("red", "Marking"), ("blue", "Shaded"))
)


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


def one_rank(server: RunningServer, rng: random.Random) -> list[psutil.Process]:
    """Any that lives, if one does."""
    groups = server.get("/server_status").json().get("groups", ())
    pids = [rank["pid"] for group in groups for rank in group["ranks"] if rank["pid"]]
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        return [psutil.Process(rng.choice(pids))]
    return []


def test_fifty_kills_lose_nothing_and_double_nothing(
    serve: Callable[..., RunningServer], counting_model: str, agent: RunningAgent | None
) -> None:
    settings = {"max_queue": 100000, "executor": "local" if agent is None else agent.url}
    server, load = killed(partial(serve, counting_model), settings, VICTIMS, agent)
    digests = load.check(server)
    again = server.result(server.submit(seed=1, steps=10, delay=0.0, text="1")).json()
    assert again["sha256"] == digests[1], "the same arguments give the same output"


def test_fifty_kills_with_two_models_of_two_groups_leave_each_job_to_its_own(
    serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    file = tmp_path / "models.toml"
    file.write_text(TWO_MODELS)
    settings = {"max_queue": 100000, "config": file}
    server, load = killed(partial(serve, []), settings, (*VICTIMS, "a rank"), models=("red", "blue"))
    load.check(server)
    groups = server.get("/server_status").json()["groups"]
    assert [group["model"] for group in groups] == ["red", "red", "blue", "blue"]


def killed(
    start: Callable[..., RunningServer],
    settings: dict[str, Any],
    victims: Sequence[str],
    agent: RunningAgent | None = None,
    models: Sequence[str] | None = None,
) -> tuple[RunningServer, Load]:
    """Load on a server, and fifty kills; the server that is left, and the load's ledger."""
    rng = random.Random(7)
    victims = victims if agent is None else (*victims, "agent")
    server = start(**settings)
    server.wait_ready()
    settings["port"] = server.url.rsplit(":", 1)[1]
    writing = 0.15 if models is None else 0.0
    load = Load(server.url, delay=0.01, pause=0.15, timeout=5, retry_for=60, writing=writing, models=models)
    load.start()
    try:
        for _ in range(KILLS):
            victim = rng.choice(victims)
            ends = time.monotonic() + rng.uniform(0.2, 1.5)
            wait_until(lambda ends=ends: time.monotonic() > ends, 5)
            alive = processes(server, agent)
            targets = list(alive.values()) if victim == "all" else [alive[victim]] if victim in alive else []
            if victim == "a rank":
                targets = one_rank(server, rng)
            for target in targets:
                target.kill()
            if agent is not None and victim in ("agent", "all"):
                agent.process.wait(10)
                agent.start()
            if victim in ("controller", "all"):
                server.process.wait(10)
                server = start(**settings)
            wait_until(partial(is_ready, server), 60, f"the server after the death of {victim}")
    finally:
        load.stop.set()
        load.join(90)
    assert len(load.ledger) > KILLS
    return server, load
